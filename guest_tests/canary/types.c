// SPDX-License-Identifier: MIT
/*
 * The types of memory control, complete, as the kernel that this is compiled against has them.  Nothing in
 * here is ever run: whoever reads a guest's memory takes the layouts from the debug information of this object.
 */
#include <linux/backing-dev.h>
#include <linux/cgroup.h>
#include <linux/dcache.h>
#include <linux/fs.h>
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

#include "slab.h"

#define TYPE(what) struct what *type_of_##what

TYPE(mem_cgroup);
TYPE(mem_cgroup_per_node);
TYPE(obj_cgroup);
TYPE(cgroup);
TYPE(cgroup_subsys_state);
TYPE(css_set);
TYPE(percpu_ref_data);
TYPE(page);
TYPE(folio);
TYPE(slab);
TYPE(slabobj_ext);
TYPE(kmem_cache);
TYPE(pglist_data);
TYPE(lruvec);
TYPE(xarray);
TYPE(xa_node);
TYPE(idr);
TYPE(list_lru);
TYPE(shrinker);
TYPE(swap_info_struct);
TYPE(task_struct);
TYPE(mm_struct);
TYPE(address_space);
TYPE(inode);
TYPE(dentry);
TYPE(super_block);
TYPE(file_system_type);
