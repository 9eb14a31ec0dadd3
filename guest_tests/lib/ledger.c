// SPDX-License-Identifier: MIT
/* The books of the kernel at rest. */
#define _GNU_SOURCE
#include "inside.h"

void gt_ledger_print(unsigned int round)
{
	gt_note("ledger %u cycles=%llu", round, (unsigned long long)atomic_load(&gt_shared->cycles));
}
