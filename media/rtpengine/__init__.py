"""rtpengine as the edge: far ends speak with it, and it with our legs, told what to do by its ng protocol."""
