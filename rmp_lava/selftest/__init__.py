"""The self-test for a board's first day: tiny experiments, from one spike to VGG-16, each with its expected spikes.

Every rung of the ladder is data: what runs, what is expected (written out, or computed from the definition of the neuron, never
by what is tested), and what a deviation means. `execute` is the only part that knows backends.
"""
