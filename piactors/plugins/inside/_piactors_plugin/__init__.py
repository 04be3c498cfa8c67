"""A plugin's own side, in its isolate; what both sides know of each other's things is here, too.

It runs on Python 3.8 and newer, and needs neither piactors nor pluggy there.
"""
