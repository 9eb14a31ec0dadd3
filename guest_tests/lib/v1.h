/* SPDX-License-Identifier: MIT */
/*
 * The memory controller on cgroup v1, in a guest in which it was never on in v2 (`cgroup: v1` in programs.yaml).
 *
 * A controller is on one hierarchy at a time (kernel/cgroup/cgroup.c, rebind_subsystems).  The program mounts v1,
 * which then serves as --cgroup: gt_cgroup() is a memcg of v1.
 */
#ifndef GT_V1_H
#define GT_V1_H

#include <stdbool.h>

/* From a constructor, before main(), which prints a plan: where v1 cannot be had the whole program is a skip. */
void gt_v1_take(int argc, char **argv);
/* From a destructor, for the next one. */
void gt_v1_let_go(void);
/* Wait until there are no more than so many memcgs, the root and dying ones counted. */
bool gt_v1_wait_for_memcgs(long long most, double seconds);

#endif
