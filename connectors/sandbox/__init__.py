"""An EHR and an SMS carrier to try the product without either: servers of their own, and the carrier's connector.

    python -m connectors.sandbox ehr --bind 127.0.0.1:8090 --feed 127.0.0.1:2575
    python -m connectors.sandbox carrier --bind 127.0.0.1:8091 --callback http://127.0.0.1:8080/carriers/sms

Everybody in it is invented (`people.make`); the numbers are of the range kept for fiction.
"""
