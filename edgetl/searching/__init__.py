"""The best model under a budget: networks are measured, probed and trained, and the winner is bundled.

===========  =========================================================================================
``options``  options of a search
``space``    networks: backbone, width, input size, depth
``costs``    latency, size and memory of a network, by the bench, with random weights
``planning`` networks that fit the budget, and of these the ones with the best frozen features
``trials``   Optuna's store; training, and ending by successive halving
``ending``   the winner's bundle, and the baseline
``document`` ``search.json``
``page``     ``search.html``
``run``      all of it
===========  =========================================================================================
"""
