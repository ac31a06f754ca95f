"""The paper's experiments, one recipe each: recipe, cells, results, tables and pictures.

A *recipe* (TOML) names volumes, acquisitions, rows of methods, and what to show. A *plan* is a
recipe at a scale: every run that it needs. A *cell* is one run, kept under the hash of all that
decides it, so that recipes share cells and a killed command goes on. Everything else is made from
cells: nothing that is shown was typed in, except what the paper's text states, in columns that
say so.
"""
