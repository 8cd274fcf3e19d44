"""Threads are settled before torch is imported, as the program does."""

from study.threads import settle

settle(1)
