"""What comes after the live reading: finding lines that arrive late, and proving history complete, window by window.

``schedule`` says which hours are due for which pass, ``probe`` asks Loki and reads what changed, ``difference`` tells new lines from
exported ones by what ``memory`` and the hour records kept, ``explained`` says why lines may be gone; ``passes`` joins them.
"""
