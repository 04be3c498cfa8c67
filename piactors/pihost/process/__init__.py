"""What a process does about itself and the processes below it, by way of its system; it knows of no message."""
