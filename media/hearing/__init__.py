"""What is understood of a far end's sound: keys, speech, machines, codecs."""
