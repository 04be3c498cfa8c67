"""One isolate at work.  `piactors._rules` decides what follows what; here it is done.

- `isolate`: gives the rules their inputs, on the I/O thread, and performs what they ask for;
- `delivery`: messages out and answers back, on the threads of callers, under the isolate's only lock;
- `incarnation`: one process of it, from its launch to the verdict on its end, whatever it is there for;
- `policies`: look at one process or at the calls, and ask for an end or a replacement; they decide nothing.

Each file owns its attributes: nobody else assigns them.  `isolate` imports the others, and none of them imports it.
"""
