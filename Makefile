# SPDX-License-Identifier: GPL-3.0-or-later
# The same commands for who has make; ./certlogon needs only sh and apt.
.PHONY: demo test bench
demo test bench:
	@./certlogon $@ $(ARGS)
