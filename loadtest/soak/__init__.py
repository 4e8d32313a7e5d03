"""A gateway after many requests and hang-ups on either side: what did it not let go of?"""
