"""Attacks the tap with random logs, servers and kills, and compares what a target got to the truth.

    make fuzz                                   ten minutes
    make fuzz MINUTES=1 SEED=7                  from another seed
    make fuzz AGAINST=/other/.venv/bin/python   another version of the tap beside this one

It knows the promise only: each entry once, none missing, whatever ended the runs. Nothing of the
tap or of its stand-in is imported.
"""
