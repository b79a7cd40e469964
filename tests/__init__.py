"""Tests mirror the packages; peers/ drives real programs, journeys/ tells whole stories."""
