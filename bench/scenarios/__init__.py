"""What is measured of one gateway, a module for each scenario or part of one."""
