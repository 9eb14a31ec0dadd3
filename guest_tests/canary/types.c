// SPDX-License-Identifier: MIT
/*
 * The types of memory control, complete, as the kernel that this is compiled against has them.  Nothing in
 * here is ever run: whoever reads a guest's memory takes the layouts from the debug information of this object, which
 * has every type of these headers, used or not (Kbuild, docs/pins.md).
 */
#include <linux/backing-dev.h>
#include <linux/cgroup.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/kernfs.h>
#include <linux/list_lru.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mm_types.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/percpu-refcount.h>
#include <linux/sched.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/swap_cgroup.h>
#include <linux/xarray.h>

#include "percpu-internal.h"
#include "slab.h"
