"""The machine underneath: cores, clocks, temperature, energy, accelerators. Linux only; nothing is changed."""
