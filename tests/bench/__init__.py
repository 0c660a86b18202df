"""`make bench`: the servers of this project beside what a user would pick instead, under the same load."""
