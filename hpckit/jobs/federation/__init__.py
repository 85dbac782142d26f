"""One campaign over several sites: who has which tiles, and everything that they computed in one place."""
