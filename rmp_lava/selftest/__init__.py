"""The self-test of a board's first day: tiny experiments, from one spike to VGG-16, each with the expected spikes.

Every rung of the ladder is data: what runs, what must come out (written out, or by the definition of the neuron, never by
what is tested), and what it means if something else does. `execute` is the only part that knows backends.
"""
