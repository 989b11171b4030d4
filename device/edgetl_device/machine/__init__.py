"""The machine: cores, clocks, temperature, energy, accelerators. Linux only; read-only."""
