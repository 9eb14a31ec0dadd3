// SPDX-License-Identifier: MIT
/*
 * A kernel's memory in miniature, for tests/test_memory.py: the structures of memory control with the members
 * that the host reads, linked where a kernel is, with page tables of its own.  Nothing of it runs.
 *
 * There are the root, one memcg that is alive, and two that are dying ("a" and "b"); an objcg that outlived its
 * memcg; a device with eight swap entries.  By itself every reference in it is accounted for; each
 * of the macros LEAK_* adds one that nobody holds.
 */
#define NULL ((void *)0)
typedef unsigned long ulong;

struct list_head { struct list_head *next, *prev; };
struct hlist_node { struct hlist_node *next, **pprev; };
struct hlist_head { struct hlist_node *first; };
#define EMPTY(head) { &(head), &(head) }
typedef struct { int counter; } atomic_t;
typedef struct { long counter; } atomic_long_t;
typedef struct { atomic_t refs; } refcount_t;

enum cgroup_subsys_id { cpuset_cgrp_id, memory_cgrp_id, CGROUP_SUBSYS_COUNT };

struct kernfs_node { struct kernfs_node *parent; const char *name; };
struct cgroup { struct kernfs_node *kn; };
struct percpu_ref_data { atomic_long_t count; };
struct percpu_ref { ulong percpu_count_ptr; struct percpu_ref_data *data; };
struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct percpu_ref refcnt;
	struct list_head sibling, children;
	unsigned int flags;
	struct cgroup_subsys_state *parent;
};
struct css_set {
	struct cgroup_subsys_state *subsys[CGROUP_SUBSYS_COUNT];
	int nr_tasks;
	struct hlist_node hlist;
};
struct obj_cgroup { struct percpu_ref refcnt; struct mem_cgroup *memcg; struct list_head list; };
struct mem_cgroup_id { int id; refcount_t ref; };
struct mem_cgroup_reclaim_iter { struct mem_cgroup *position; };
struct mem_cgroup_per_node { struct mem_cgroup_reclaim_iter iter; };
struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct mem_cgroup_id id;
	struct obj_cgroup *objcg, *orig_objcg;
	struct list_head objcg_list, cgwb_list, event_list;
	struct mem_cgroup_per_node *nodeinfo[];
};
struct xarray { unsigned int xa_flags; void *xa_head; };
struct xa_node { unsigned char shift, offset, count, nr_values; struct xa_node *parent; struct xarray *array; void *slots[64]; };
struct file_system_type { const char *name; };
struct super_block { struct file_system_type *s_type; char s_id[32]; };
struct qstr { const unsigned char *name; };
struct dentry {
	struct dentry *d_parent; struct qstr d_name;
	union { struct hlist_node d_alias; } d_u;
};
struct inode { struct super_block *i_sb; ulong i_ino; unsigned int i_rdev; struct hlist_head i_dentry; };
struct address_space { struct inode *host; };
struct page { ulong flags, compound_head; struct list_head lru; struct address_space *mapping; ulong index; ulong refs, memcg_data; };
struct slab { ulong flags; struct kmem_cache *slab_cache; ulong freelist[2]; unsigned inuse:16, objects:15, frozen:1; ulong refs, obj_exts; };
struct slabobj_ext { struct obj_cgroup *objcg; };
struct kmem_cache_order_objects { unsigned int x; };
struct kmem_cache { struct kmem_cache_order_objects oo; const char *name; struct list_head list; };
struct pglist_data { ulong node_start_pfn, node_spanned_pages; };
struct memcg_stock_pcp { struct mem_cgroup *cached; struct obj_cgroup *cached_objcg; };
struct backing_dev_info { const char *dev_name; };
struct bdi_writeback { struct backing_dev_info *bdi; struct cgroup_subsys_state *memcg_css; struct list_head memcg_node, offline_node; };
struct signal_struct { struct list_head thread_head; };
struct task_struct { struct list_head tasks, thread_node; struct signal_struct *signal; struct obj_cgroup *objcg; char comm[16]; };
struct pcpuobj_ext { struct obj_cgroup *cgroup; };
struct pcpu_chunk { struct list_head list; struct pcpuobj_ext *obj_exts; int nr_pages; };
#ifdef FLAT	/* none: the record of swap as one array */
struct swap_cgroup_ctrl { unsigned short *map; };
#else
struct swap_cgroup_ctrl { struct page **map; ulong length; };
#endif
struct swap_info_struct { unsigned char *swap_map; unsigned int max; };

/* The types alone are the other object that the host takes. */
#ifndef TYPES

#ifdef LEAK_CSS
#define CSS_MORE 3
#else
#define CSS_MORE 0
#endif
#ifdef LEAK_OBJCG
#define OBJCG_MORE 2
#else
#define OBJCG_MORE 0
#endif
#ifdef LEAK_ID
#define ID_MORE 4
#else
#define ID_MORE 0
#endif

#define ATOMIC 1
#define DEAD 2
#define ONLINE 2
#define PRESENT_WRITE 3
#define TEXT 0xffffffff80000000UL

extern struct mem_cgroup root, alive, a, b;
extern struct obj_cgroup orphan, own;
struct page pages[16];

static struct kernfs_node kn_root = { NULL, "" }, kn_alive = { &kn_root, "alive" }, kn_a = { &kn_root, "a" }, kn_b = { &kn_root, "b" };
static struct cgroup cg_root = { &kn_root }, cg_alive = { &kn_alive }, cg_a = { &kn_a }, cg_b = { &kn_b };

/* a: two pages of a file and one that is anonymous, its id, and what leaks. */
static struct percpu_ref_data count_a = { { 4 + CSS_MORE } };
/* b: a CPU's stock and a css_set. */
#ifdef LEAK_ITERATOR
static struct percpu_ref_data count_b = { { 3 } };
#else
static struct percpu_ref_data count_b = { { 2 } };
#endif
/* orphan: two objects, a kernel page, a task, a percpu allocation, and what leaks. */
static struct percpu_ref_data count_orphan = { { 5 + OBJCG_MORE } };

static struct mem_cgroup_per_node node_root = {
#ifdef LEAK_ITERATOR
	{ &b },
#endif
}, node_alive, node_a, node_b;

struct mem_cgroup root = {
	.css = { &cg_root, { 0, NULL }, EMPTY(root.css.sibling), { &alive.css.sibling, &b.css.sibling }, ONLINE, NULL },
	.id = { 1, { { 1 } } }, .objcg_list = { &orphan.list, &orphan.list },
	.cgwb_list = EMPTY(root.cgwb_list), .event_list = EMPTY(root.event_list), .nodeinfo = { &node_root },
};
struct mem_cgroup alive = {
	.css = { &cg_alive, { 0, NULL }, { &a.css.sibling, &root.css.children }, EMPTY(alive.css.children), ONLINE, &root.css },
	.id = { 2, { { 1 } } }, .objcg = &own, .orig_objcg = &own, .objcg_list = EMPTY(alive.objcg_list),
	.cgwb_list = EMPTY(alive.cgwb_list), .event_list = EMPTY(alive.event_list), .nodeinfo = { &node_alive },
};
struct mem_cgroup a = {
	.css = { &cg_a, { ATOMIC | DEAD, &count_a }, { &b.css.sibling, &alive.css.sibling }, EMPTY(a.css.children), 0, &root.css },
	.id = { 3, { { 3 + ID_MORE } } }, .objcg_list = EMPTY(a.objcg_list),
	.cgwb_list = EMPTY(a.cgwb_list), .event_list = EMPTY(a.event_list), .nodeinfo = { &node_a },
};
struct mem_cgroup b = {
	.css = { &cg_b, { ATOMIC | DEAD, &count_b }, { &root.css.children, &a.css.sibling }, EMPTY(b.css.children), 0, &root.css },
	.objcg_list = EMPTY(b.objcg_list), .cgwb_list = EMPTY(b.cgwb_list), .event_list = EMPTY(b.event_list), .nodeinfo = { &node_b },
};
struct mem_cgroup *root_mem_cgroup = &root;

struct obj_cgroup orphan = { { ATOMIC | DEAD, &count_orphan }, &root, { &root.objcg_list, &root.objcg_list } };
struct obj_cgroup own = { { 0, NULL }, &alive, EMPTY(own.list) };

/* Ids 1, 2 and 3, as an xarray of one node; 1030 is XA_ZERO_ENTRY, which keeps 0 busy. */
static struct xa_node ids_node = { .count = 3, .slots = { (void *)1030UL, &root, &alive, &a } };
struct xarray mem_cgroup_ids = { 0, (void *)((char *)&ids_node + 2) };

/* --- pages and objects --------------------------------------------------------- */

static struct file_system_type ext4 = { "ext4" };
static struct super_block super = { &ext4, "ram0" };
static struct dentry top = { .d_parent = &top, .d_name = { (const unsigned char *)"/" } };
static struct inode inode;
static struct dentry file = { .d_parent = &top, .d_name = { (const unsigned char *)"log" }, .d_u = { { NULL, &inode.i_dentry.first } } };
static struct inode inode = { &super, 12, 0, { &file.d_u.d_alias } };
static struct address_space mapping = { &inode };

static struct kmem_cache cache;
struct list_head slab_caches = { &cache.list, &cache.list };
static struct kmem_cache cache = { { 4 }, "dentry", { &slab_caches, &slab_caches } };
static struct slabobj_ext objects[4] = { { &orphan }, { &own }, { NULL }, { &orphan } };
static unsigned short record[2048] __attribute__((aligned(4096))) = {
	0, 3, 3, 2,
#ifdef LEAK_ENTRY
	3,	/* and the entry is free */
#else
	0, 3,
#endif
};
static unsigned char uses[8] = { 63, 1, 1, 1, 0, 1, 0, 0 };

struct page pages[16] = {
	[1] = { .mapping = &mapping, .memcg_data = (ulong)&a },
	[2] = { .mapping = &mapping, .memcg_data = (ulong)&a },
	[3] = { .mapping = (void *)1, .memcg_data = (ulong)&a },
	[4] = { .mapping = &mapping, .memcg_data = (ulong)&alive },
	[5] = { .memcg_data = (ulong)&orphan + 2 },
	/* a slab: slab_cache is the second word, the number of objects follows the freelist */
	[6] = { .compound_head = (ulong)&cache, .mapping = (void *)(4UL << 16), .memcg_data = (ulong)objects + 1 },
};
ulong vmemmap_base = (ulong)pages;
/* Page 7 is where the record of swap is: the direct map begins seven pages before it. */
ulong page_offset_base = (ulong)record - 7 * 4096;
static struct pglist_data node = { 0, 16 };
struct pglist_data *node_data[2] = { &node };

#ifdef FLAT
struct swap_cgroup_ctrl swap_cgroup_ctrl[1] = { { record } };
#else
static struct page *record_pages[1] = { &pages[7] };
struct swap_cgroup_ctrl swap_cgroup_ctrl[1] = { { record_pages, 1 } };
#endif
static struct swap_info_struct device = { uses, 8 };
struct swap_info_struct *swap_info[1] = { &device };

/* --- who else holds them --------------------------------------------------------- */

/* One CPU, whose copies stand where the variables do. */
unsigned int nr_cpu_ids = 1;
ulong __per_cpu_offset[1];
struct memcg_stock_pcp memcg_stock = { &b, &own };

static struct css_set set = { { NULL, &b.css }, 1 };
struct hlist_head css_set_table[4] = { [2] = { &set.hlist } };
struct list_head offline_cgwbs = EMPTY(offline_cgwbs);
/* Nothing in the scene is written back; the type has to be known all the same. */
struct bdi_writeback none;

static struct signal_struct signals;
struct task_struct init_task;
static struct task_struct task = { EMPTY(init_task.tasks), EMPTY(signals.thread_head), &signals, (void *)((char *)&orphan + 1), "sleeper" };
static struct signal_struct signals = { EMPTY(task.thread_node) };
struct task_struct init_task = { EMPTY(task.tasks), {}, NULL, NULL, "swapper" };

static struct pcpuobj_ext allocations[1024] = { [17] = { &orphan } };
static struct pcpu_chunk chunk;
static struct list_head chunk_lists[1] = { EMPTY(chunk.list) };
struct list_head *pcpu_chunk_lists = chunk_lists;
static struct pcpu_chunk chunk = { EMPTY(chunk_lists[0]), allocations, 1 };
int pcpu_nr_slots = 1;

/* --- page tables: the first megabytes at TEXT, in pages of 2 MiB ---------------------- */

#define TABLE __attribute__((aligned(4096)))
static ulong middle[512] TABLE = { [0] = 0x83, [1] = 0x200083, [2] = 0x400083, [8] = 0x1000083, [9] = 0x1200083 };
static ulong upper[512] TABLE = { [510] = (ulong)((char *)middle - TEXT + PRESENT_WRITE) };
ulong init_top_pgt[512] TABLE = { [511] = (ulong)((char *)upper - TEXT + PRESENT_WRITE) };

#endif
