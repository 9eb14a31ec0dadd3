"""Functions a report is never named after: the ways into a report, and what every caller shares.

A title names the first frame that says something about the bug. Allocators, locks, string copies,
sanitizer entry points, printk, list and refcount helpers say only how the bug was noticed.
"""

from __future__ import annotations

import re

# One row a topic. Each entry is a pattern that the whole name of a function has to match.
_PLUMBING: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("printing a report", (
        r"_*dump_stack(_lvl|_print_info)?", r"_*show_(stack|regs|trace|trace_log_lvl|backtrace)", r"dump_backtrace(_\w+)?", r"_?printk\w*",
        r"vprintk\w*", r"_*panic", r"vpanic", r"nmi_panic\w*", r"_*warn", r"_*warn_\w+", r"_*report_bug\w*", r"fixup_bug", r"handle_bug",
        r"print_report", r"print_address_description", r"kasan_\w+", r"_*kasan_\w+", r"_*asan_\w+", r"_*hwasan_\w+", r"kcsan_\w+", r"_*tsan_\w+",
        r"kmsan_\w+", r"_*msan_\w+", r"_*sanitizer_\w+", r"ubsan_\w+", r"_*ubsan_\w+", r"kfence_\w+", r"check_memory_region\w*", r"check_region_inline",
        r"memory_is_poisoned\w*", r"object_err", r"print_trailer", r"slab_err", r"slab_bug", r"slab_fix", r"print_usage_bug\w*", r"print_bad_irq_dependency",
        r"print_circular_bug\w*", r"print_deadlock_bug", r"print_irq_inversion_bug", r"print_unlock_imbalance_bug", r"print_\w*lock\w*_bug\w*",
        r"add_taint", r"oops_\w+", r"_*die(_\w+)?", r"bust_spinlocks", r"crash_kexec", r"dump_page\w*", r"bad_page", r"_*fortify_(report|panic)",
        r"_*stack_chk_fail", r"backtrace", r"unwind_backtrace", r"dump_cpu_task", r"sched_show_task", r"show_state_filter", r"end_report",
        r"start_report", r"set_track\w*", r"save_stack\w*", r"stack_trace_\w+", r"stack_depot_\w+", r"_*stack_depot_\w+", r"_*save_stack_trace",
        r"arch_stack_walk", r"get_stack_info", r"unwind_\w+", r"_*(re)?set_page_owner\w*", r"should_fail\w*", r"should_failslab", r"fail_dump", r"_*should_\w*fail\w*", r"init_bad_stack", r"check_panic_on_warn", r"panic_saved_regs", r"walk_stackframe", r"dump_header", r"print_tainted", r"assert\w*fail\w*", r"\w*_assertfail", r"assfail", r"(xfs_)?asswarn",
    )),
    ("traps and exceptions", (
        r"invalid_op", r"general_protection", r"page_fault", r"async_page_fault", r"do_error_trap", r"do_trap\w*", r"do_invalid_op", r"do_general_protection",
        r"no_context", r"page_fault_oops", r"kernelmode_fixup_or_oops", r"handle_page_fault",
        r"exc_\w+", r"asm_\w+", r"error_code", r"error_entry", r"double_fault", r"do_double_fault", r"df_\w+", r"int3", r"do_int3", r"do_divide_error",
        r"divide_error", r"stack_segment", r"trace_page_fault", r"do_user_addr_fault", r"do_kern_addr_fault", r"spurious_kernel_fault", r"fixup_exception",
        r"gp_\w*fault\w*", r"_*bug_handler", r"bug_handler", r"brk_handler", r"call_break_hook", r"do_debug_exception", r"do_el1_\w+", r"do_mem_abort",
        r"do_translation_fault", r"_*do_kernel_fault", r"die_kernel_fault", r"do_sea", r"do_bad", r"do_alignment\w*", r"do_DataAbort", r"do_PrefetchAbort",
        r"el[01]\w*_(sync|irq|fiq|error|da|ia|inv|dbg|pc|sp|undef|brk)(_\w+)?", r"el1_\w+", r"el1h_\w+", r"vectors", r"bad_mode", r"early_brk64",
        r"apply_bp_hardening", r"arm64_notify_die", r"do_sp_pc_abort", r"do_undefinstr", r"_*und_\w+", r"arm_notify_die", r"do_trap_\w+", r"do_(translation|alignment|tag_check|sea|mem|kern_addr|user_addr|spurious_kernel)_?fault", r"do_bad_area", r"_*x86_indirect_thunk_\w+", r"_*indirect_thunk\w*", r"do_tag_\w+", r"program_check_\w+", r"handle_exception",
        r"ret_from_exception", r"do_kernel_range_tlbi", r"bp_harden\w*", r"_*irq_svc", r"asm_sysvec_\w+", r"sysvec_\w+", r"_*sysvec_\w+",
        r"notifier_call_chain", r"_*notify_die", r"atomic_notifier_call_chain\w*", r"_*atomic_notifier_call_chain",
        r"restore_all", r"retint_\w+", r"ret_from_intr", r"common_interrupt", r"apic_timer_interrupt", r"smp_apic_timer_interrupt", r"smp_\w+_interrupt", r"reschedule_interrupt",
        r"call_function_(single_)?interrupt", r"irq_work_interrupt",
    )),
    ("locks", (
        r"_*(raw_)?(spin|read|write)_(lock|unlock|trylock)\w*", r"_*raw_(spin|read|write)_\w+", r"do_raw_\w+", r"queued_(spin|read|write)_\w+", r"native_queued_\w+", r"pv_\w*spin\w*", r"_*pv_queued_\w+",
        r"_*mutex_(un|try)?lock\w*", r"mutex_\w+_owner", r"_*mutex_\w+", r"_*ww_mutex_\w+", r"down_(read|write|trylock)\w*", r"up_(read|write)\w*", r"_*down\w*", r"_*up_(read|write)", r"rwsem_\w+", r"_*rt_mutex_\w+", r"rt_(spin|mutex|read|write)_\w+", r"rtlock_\w+",
        r"percpu_(down|up)_\w+", r"_*percpu_\w+rwsem\w*", r"_*lock_acquire\w*", r"_*lock_release\w*", r"lock_(acquire|release|acquired|contended|pin|unpin|downgrade|set_class|repin)\w*", r"lockdep_\w+", r"_*lockdep_\w+", r"check_(prev|prevs|noncircular|deadlock|usage|irq_usage|wait_context|flags|no_locks|unlock|path)\w*",
        r"_*(mark_lock|validate_chain|register_lock_class|look_up_lock_class|assign_lock_key|lookup_chain_cache)\w*", r"mark_\w+lock\w*", r"valid_state", r"mark_held_locks", r"print_lock\w*",
        r"spin_(dump|bug|lock|unlock|trylock|until_cond)\w*", r"rwlock_bug", r"debug_(spin|mutex|lock|locks|write|read|rt_mutex)\w*", r"bit_spin_\w+", r"_*bit_spin_\w+", r"arch_(spin|read|write)_\w+", r"seqcount_\w+", r"read_seq\w*", r"write_seq\w*",
        r"trace_hardirqs_\w+", r"trace_irq_\w+", r"trace_softirqs_\w+", r"local_irq_\w+", r"arch_local_\w+", r"trace_lock_\w+", r"trace_contention_\w+", r"_*local_bh_\w+", r"_*local_lock\w*", r"osq_\w+",
        r"__might_(sleep|fault|resched)", r"___might_sleep", r"might_\w+", r"__cant_sleep", r"debug_lockdep_\w+", r"rcu_lockdep_\w+", r"debug_check_no_locks_held", r"debug_check_no_locks_freed", r"__rcu_read_\w+", r"rcu_read_(un)?lock\w*", r"rcu_note_context_switch", r"rcu_is_watching", r"rcu_sync_lockdep_assert",
        r"rcu_read_lock_\w+", r"__flush_work\w*", r"flush_workqueue_prep\w*", r"touch_work_lockdep_map", r"touch_wq_lockdep_map", r"lock_page\w*", r"__lock_page\w*",
        r"lock_map_\w+", r"ftrace_\w*likely\w*", r"_*fs_reclaim_\w+", r"reacquire_held_locks", r"folio_(un)?lock\w*", r"unlock_page", r"folio_wake_bit", r"wake_up_page\w*", r"schedule_bug", r"\w*rq_lock\w*", r"_*schedule_bug",
    )),
    ("entries and dispatchers", (
        r"process_one_work", r"process_scheduled_works", r"worker_thread", r"kthread", r"ret_from_fork\w*", r"do_syscall_\w+", r"entry_SYS\w+", r"entry_INT\w+", r"do_fast_syscall_32", r"ret_fast_syscall", r"system_call_\w+", r"el0_svc", r"do_el0_svc", r"el0_svc_common", r"invoke_syscall",
    )),
    ("scheduling", (
        r"_*schedule(_timeout\w*|_preempt\w*|_rtlock|_hrtimeout\w*|_debug)?", r"io_schedule\w*", r"preempt_schedule\w*", r"_*cond_resched\w*", r"_*preempt_count_\w+", r"preempt_count_\w+", r"check_preemption_disabled", r"debug_smp_processor_id", r"__this_cpu_preempt_check", r"context_switch", r"__switch_to\w*", r"thread_return",
    )),
    ("memory", (
        r"_*k[mvz]?[mzc]?alloc\w*", r"_*kvm?alloc\w*", r"kmalloc_\w+", r"_*do_kmalloc\w*", r"_*k[vz]*free\w*", r"kfree_\w+", r"k(mem)?dup\w*", r"kmemdup\w*", r"kstrn?dup\w*", r"kvmemdup\w*", r"_*kmem_cache_\w+", r"___?cache_\w+", r"cache_(alloc|free|grow|flusharray)\w*", r"_*slab_\w+", r"slab_\w+", r"_*kmalloc\w*",
        r"___slab_\w+", r"new_slab\w*", r"allocate_slab", r"alloc_slab_page", r"setup_object", r"free_(slab|debug_processing|object|consistency_checks|one_page|pages?|large_kmalloc|hot_cold_page|unref_page|pcppages_bulk|pages_prepare)\w*", r"check_(slab|object|bytes\w*|pad_bytes)\w*", r"alloc_(debug_processing|consistency_checks)", r"alloc_single_from_\w+", r"unfreeze_partials", r"_*unfreeze_partials", r"put_cpu_partial", r"get_partial\w*", r"discard_slab", r"init_object", r"get_freepointer\w*", r"set_freepointer",
        r"_*alloc_(pages?|frozen_pages|folio)\w*", r"alloc_pages?_(mpol|vma|current|node|nodemask|noprof)\w*", r"_*get_free_pages?\w*", r"get_page_from_freelist", r"get_zeroed_page\w*", r"__free_pages\w*", r"post_alloc_hook", r"prep_new_page", r"rmqueue\w*", r"_*rmqueue\w*", r"vm_normal_page\w*", r"folio_alloc\w*", r"_*folio_alloc\w*",
        r"_*vmalloc\w*", r"vzalloc\w*", r"_*vmap_\w+", r"_*vfree\w*", r"_*vunmap\w*", r"vfree\w*", r"kvfree\w*", r"krealloc\w*", r"_*do_krealloc", r"_*krealloc\w*", r"ksize", r"_*ksize", r"debug_check_no_obj_freed", r"_*debug_check_no_obj_freed", r"debug_print_object", r"debug_object_\w+", r"_*debug_object_\w+", r"slob_\w+", r"mempool_\w+", r"_*phys_addr\w*", r"_*virt_addr_valid", r"virt_to_\w+", r"qlist_free_all", r"qlink_free", r"quarantine_\w+", r"___cache_free", r"poison_\w+", r"pcpu_alloc\w*", r"_*alloc_percpu\w*", r"__kernel_text_address", r"is_bpf_text_address", r"kernel_text_address", r"is_module_text_address",
        r"kcalloc\w*", r"devm_k\w+", r"kmemleak_\w+", r"create_object", r"_*kmemleak_\w+", r"copy_page\w*", r"_*page_pool_alloc\w*", r"page_pool_alloc\w*", r"clear_page_\w+",
    )),
    ("strings and copies", (
        r"_*mem(cmp|cpy|set|move|chr|scan|chr_inv|zero_explicit|dup_user\w*|cpy_\w+|set_\w+)(_\w+)?", r"_*str(n|l|s|rn?)?(cpy|cat|cmp|len|chr|case\w*|str|dup\w*|lcpy|scpy|spn|pbrk|sep|rchr|nlen|ncmp|ncpy|nchr|nstr|scpy_\w+)(_\w+)?", r"strscpy\w*", r"sized_str\w*", r"bcmp", r"\w*copy_(from|to|in)_(user|iter|kernel|sockptr|bpfptr)\w*", r"_*(copy|clear)_(from|to|in|mc|user|iter)\w*", r"_*copy_(from|to|in)_(user|iter)\w*", r"_*raw_copy_\w+", r"_copy_\w+", r"raw_copy_\w+", r"copy_user_\w+", r"copyin", r"copyout\w*", r"iterate_and_advance\w*", r"copy_\w*iter\w*", r"_*check_object_size", r"check_heap_object", r"check_stack_object", r"usercopy_\w+", r"report_usercopy", r"csum_\w+", r"_*crc(16|32|32c|64|_t10dif|_ccitt)\w*", r"_*clear_user\w*", r"read_word_at_a_time", r"_*arch_\w*copy\w*", r"_*asan_mem\w+", r"instrument_\w+", r"user_access_\w+", r"(get|put)_user\w*", r"_*(get|put)_user_\w+", r"_*put_user\w*", r"_*get_user_\d", r"probe_kernel_\w+", r"copy_(from|to)_kernel_nofault\w*",
        r"vsn?printf", r"sn?printf", r"scnprintf", r"vscnprintf", r"string", r"string_nocheck", r"hex_string", r"pointer", r"number", r"format_decode", r"symbol_string", r"kvasprintf\w*", r"kasprintf\w*", r"seq_(printf|puts|putc|write|vprintf)", r"bstr_printf", r"vbin_printf", r"dev_(printk\w*|vprintk_emit|err|warn|info)", r"_*dev_(printk|err|warn|info)\w*", r"_*netdev_printk", r"va_format",
    )),
    ("lists, trees, references, atomics, bits", (
        r"_*list_(add|del|move|splice|cut|empty|first|is|replace|swap|rotate)\w*", r"h?list_\w*(add|del)\w*", r"_*hlist_\w+", r"hlist_\w+", r"_*h?list_add_rcu", r"_*list_lru_\w+", r"_*list_\w*valid\w*", r"_*llist_\w+", r"llist_\w+", r"plist_\w+", r"_*rb_(erase|insert|next|prev|first|last|link|find|add|replace|set|rotate|node|change)\w*", r"_*rb_\w+_(augmented|color|cached)", r"_*xas?_\w+", r"xas_\w+", r"xa_\w+", 
        r"skb_(panic|over_panic|under_panic|put|push|pull|trim|tailroom|headroom)\w*", r"_*skb_(put|push|pull|trim)\w*", r"iput(_final)?", r"find_lock_entries", r"find_get_(entries|pages\w*)", r"(pagevec|filemap)_lookup\w*", r"truncate_inode_(pages|folios)_range", r"truncate_pagecache\w*", r"unregister_net(dev|device)\w*", r"rollback_registered\w*", r"usb_(start_wait_urb|(bulk|control|interrupt)_msg\w*|hcd_submit_urb)", r"usb_(kill|poison|unlink)_(anchored_)?urbs?", r"refcount_\w+", r"_*refcount_\w+", r"kref_\w+", r"kobject_(add|put|get|cleanup|release|del|init|uevent)\w*", r"_*kobject_\w+", r"kobj_\w+", r"k(set|type)_\w+", r"klist_\w+", r"get_device", r"put_device", r"_*ref_tracker_\w+", r"ref_tracker_\w+",
        r"_*(arch_)?(raw_)?atomic(64|_long)?_\w+", r"atomic(64|_long)?_\w+", r"arch_atomic\w*", r"raw_atomic\w*", r"cmpxchg\w*", r"_*(test_and_)?(set|clear|change)_bit\w*", r"_*(arch_)?test_(and_)?\w*bit\w*", r"(arch_)?(set|clear|change|test)_bit\w*", r"_*(find|for_each)_\w*bit\w*", r"_?find_(first|next|last)_\w+", r"_*bitmap_(set|clear|zero|copy|or|and|andnot|xor|complement|equal|weight|parse\w*|find\w*|fill|full|empty|subset|intersects)", r"_*(read|write)_once\w*", r"_*(READ|WRITE)_ONCE\w*", r"_*(read|write)_once_size", r"constant_test_bit", r"variable_test_bit", r"bit_\w+_lock", r"_*raw_(read|write)[bwlq]", r"raw_(read|write)[bwlq]", r"(read|write)[bwlq]", r"_*io(read|write)\d+\w*", r"io(read|write)\d+\w*", r"(logic_)?(in|out)[bwl]", r"logic_(in|out)\w+", r"readl_relaxed", r"mmio_\w*(read|write)",
    )),
    ("timers, work, rcu, sysfs, proc, firmware", (
        r"timer_(is_static_object|fixup_\w+)", r"work_is_static_object", r"(lock|debug)_timer_base", r"lock_timer_base", r"_*mod_timer\w*", r"mod_timer\w*", r"add_timer\w*", r"_*internal_add_timer", r"(try_to_)?del_timer\w*", r"timer_(delete|shutdown|reduce)\w*", r"_*timer_delete\w*", r"_*try_to_del_timer_sync", r"detach_(if_pending|timer)", r"hrtimer_(start|cancel|try_to_cancel|init|forward|active)\w*", r"_*hrtimer_\w+", r"debug_(timer|hrtimer|work|rcu_head|percpu_counter)_\w+", r"cancel_(delayed_)?work\w*", r"_*cancel_work\w*", r"_*cancel_delayed_work\w*", r"(mod_)?queue_(delayed_)?work\w*", r"_*queue_(delayed_)?work\w*", r"mod_delayed_work\w*", r"schedule_(delayed_)?work\w*", r"flush_(delayed_)?work(queue)?\w*", r"start_flush_work", r"insert_work", r"destroy_workqueue", r"drain_workqueue", r"kthread_\w*insert_work\w*", r"kthread_(queue|flush|destroy|cancel|mod|stop)\w*", r"call_rcu\w*", r"_*call_rcu\w*", r"call_srcu", r"cleanup_srcu_struct\w*", r"init_srcu_struct\w*", r"rcu_segcblist_\w+", r"sysfs_\w+", r"internal_create_group\w*", r"_*device_(add|del|release)\w*", r"dpm_sysfs_\w+", r"get_device_parent", r"bus_(add|remove)_device", r"devm_device_release", r"driver_(un)?register", r"bus_(add|remove)_driver", r"device_for_each_child\w*", r"cdev_device_\w+", r"kill_device", r"tty_unregister_device", r"i2c_del_adapter", r"_*unregister_client", r"hwrng_unregister", r"misc_deregister", r"cleanup_glue_dir", r"class_\w+_(file|register|unregister)\w*", r"add_uevent_var", r"sound_\w+_device", r"init_timer_key", r"do_init_timer", r"timer_init_key", r"sk_(reset|stop)_timer\w*", r"kobj_kset_leave", r"device_(add|create|register|unregister|destroy|del|release|remove|initialize|is_\w+)\w*", r"driver_sysfs_\w+", r"add_wait_queue\w*", r"(prepare|finish)_to_wait\w*", r"wake_up(?!_new)\w*", r"(try|default|autoremove|woken)_(to_)?wake\w*", r"_*wake_(?!up_new)\w+", r"complete(_all|_with_flags)?", r"swake_\w+", r"init_wait\w*", r"wait_for_(common|completion)\w*", r"_*wait_for_common\w*", r"do_wait_\w+", r"_*wait_event\w*", r"perf_trace_\w+", r"trace_event_\w+", r"trace_raw_\w+", r"trace_(event|raw|call|print|define)\w*", r"_*traceiter_\w+", r"_*bpf_trace_run\w*", r"_*perf_event_(task_sched|disable)\w*", r"_*fentry_*", r"mcount\w*", r"ftrace_(likely_update|(regs_)?caller|stub|call|graph_caller|ops_\w+_func)", r"return_to_handler", r"drop_nlink", r"clear_nlink", r"inc_nlink", r"mark_buffer_dirty",
    )),
)

_ALL = re.compile("|".join(f"(?:{pattern})" for _, rows in _PLUMBING for pattern in rows))

# A name the compiler made: the ending says how, not what.
_SUFFIX = re.compile(r"(?:\.(?:isra|part|constprop|cold|llvm|lto_priv|cfi_jt|cfi|clone|specialized|localalias|clang)(?:\.[\w]+)*|\.\d+)+$")


def base(function: str) -> str:
    """The function as written in the source: without ``.isra.0``, ``.cold`` and their like."""
    return _SUFFIX.sub("", function)


def is_plumbing(function: str) -> bool:
    """Whether a report is never named after this function."""
    return _ALL.fullmatch(function) is not None
