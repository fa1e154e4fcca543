"""What every scenario uses: rows of figures, reports, processes and their resource usage."""
