"""What every scenario uses: rows of figures, their report, processes and what these use of the machine."""
