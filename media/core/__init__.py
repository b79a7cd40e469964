"""Media core processes: one for each CPU core carries sound, and obeys the one signalling process that started it.

`wire` is what the two say, `obey` the side in the core, `process`, `leg` and `relay` the side of the signalling.
"""
