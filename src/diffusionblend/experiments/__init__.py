"""The paper's experiments: recipes, runs, tables and figures.

A *recipe* (TOML) names volumes, acquisitions, methods, and what to show. A *run* is one
reconstruction that a recipe needs, kept under the hash of what decides its numbers, so that recipes
share runs and a killed command can continue. *Tables* and *figures* are made of the runs alone:
nothing that is shown was typed in, except what the paper's text states, in columns that say so.
"""
