"""Functions a report is never named after: the ways into a report, and what every caller shares.

A title names the first frame that says something about the bug. Allocators, locks, string copies,
sanitizer entry points, printk, list and refcount helpers say only how the bug was noticed.
"""

import re
from functools import lru_cache

from pipeline.findings.pattern import any_of

# Each word is a pattern that the whole name of a function has to match.

_PRINTING_A_REPORT = r"""
    _*dump_stack(_lvl|_print_info)? _*show_(stack|regs|trace|trace_log_lvl|backtrace) dump_backtrace(_\w+)?
    _?printk\w* vprintk\w* _*panic vpanic nmi_panic\w* _*warn _*warn_\w+ _*report_bug\w* fixup_bug handle_bug
    print_report print_address_description kasan_\w+ _*kasan_\w+ _*asan_\w+ _*hwasan_\w+ kcsan_\w+ _*tsan_\w+
    kmsan_\w+ _*msan_\w+ _*sanitizer_\w+ ubsan_\w+ _*ubsan_\w+ kfence_\w+ check_memory_region\w*
    check_region_inline memory_is_poisoned\w* object_err print_trailer slab_err slab_bug slab_fix
    print_usage_bug\w* print_bad_irq_dependency print_circular_bug\w* print_deadlock_bug print_irq_inversion_bug
    print_unlock_imbalance_bug print_\w*lock\w*_bug\w* add_taint oops_\w+ _*die(_\w+)? bust_spinlocks
    crash_kexec dump_page\w* bad_page print_bad_pte print_bad_page_map _*fortify_(report|panic) _*stack_chk_fail
    backtrace unwind_backtrace dump_cpu_task sched_show_task show_state_filter end_report start_report
    set_track\w* save_stack\w* stack_trace_\w+ _*save_stack_trace arch_stack_walk get_stack_info
    _*(re)?set_page_owner\w* should_fail\w* should_failslab fail_dump _*should_\w*fail\w* init_bad_stack
    check_panic_on_warn panic_saved_regs walk_stackframe dump_header print_tainted assert\w*fail\w*
    \w*_assertfail assfail (xfs_)?asswarn
"""
_TRAPS_AND_EXCEPTIONS = r"""
    invalid_op general_protection page_fault async_page_fault do_error_trap do_trap\w* do_invalid_op
    do_general_protection no_context page_fault_oops kernelmode_fixup_or_oops handle_page_fault exc_\w+ asm_\w+
    error_code error_entry double_fault do_double_fault df_\w+ int3 do_int3 do_divide_error divide_error
    stack_segment trace_page_fault do_user_addr_fault do_kern_addr_fault spurious_kernel_fault fixup_exception
    gp_\w*fault\w* _*bug_handler bug_handler brk_handler call_break_hook do_debug_exception do_el1_\w+
    do_mem_abort do_translation_fault _*do_kernel_fault die_kernel_fault do_sea do_bad do_alignment\w*
    do_DataAbort do_PrefetchAbort el[01]\w*_(sync|irq|fiq|error|da|ia|inv|dbg|pc|sp|undef|brk)(_\w+)? el1_\w+
    el1h_\w+ vectors bad_mode early_brk64 apply_bp_hardening arm64_notify_die do_sp_pc_abort do_undefinstr
    _*und_\w+ arm_notify_die do_trap_\w+
    do_(translation|alignment|tag_check|sea|mem|kern_addr|user_addr|spurious_kernel)_?fault do_bad_area
    _*x86_indirect_thunk_\w+ _*indirect_thunk\w* do_tag_\w+ program_check_\w+ handle_exception
    ret_from_exception do_kernel_range_tlbi bp_harden\w* _*irq_svc asm_sysvec_\w+ sysvec_\w+ _*sysvec_\w+
    notifier_call_chain _*notify_die atomic_notifier_call_chain\w* _*atomic_notifier_call_chain restore_all
    retint_\w+ ret_from_intr common_interrupt apic_timer_interrupt smp_apic_timer_interrupt smp_\w+_interrupt
    reschedule_interrupt call_function_(single_)?interrupt irq_work_interrupt \w*notifier_call_chain\w*
"""
_LOCKS = r"""
    _*(raw_)?(spin|read|write)_(lock|unlock|trylock)\w* _*raw_(spin|read|write)_\w+ do_raw_\w+
    queued_(spin|read|write)_\w+ native_queued_\w+ pv_\w*spin\w* _*pv_queued_\w+ _*mutex_(un|try)?lock\w*
    mutex_\w+_owner _*mutex_\w+ _*ww_mutex_\w+ down_(read|write|trylock)\w* up_(read|write)\w* _*down\w*
    _*up_(read|write) rwsem_\w+ _*rt_mutex_\w+ rt_(spin|mutex|read|write)_\w+ rtlock_\w+ percpu_(down|up)_\w+
    _*percpu_\w+rwsem\w* _*lock_acquire\w* _*lock_release\w*
    lock_(acquire|release|acquired|contended|pin|unpin|downgrade|set_class|repin)\w* lockdep_\w+ _*lockdep_\w+
    check_(prev|prevs|noncircular|deadlock|usage|irq_usage|wait_context|flags|no_locks|unlock|path)\w*
    _*(mark_lock|validate_chain|register_lock_class|look_up_lock_class|assign_lock_key|lookup_chain_cache)\w*
    mark_\w+lock\w* valid_state hlock_\w+ __lock_\w+ __bfs mark_held_locks print_lock\w*
    spin_(dump|bug|lock|unlock|trylock|until_cond)\w* rwlock_bug
    debug_(spin|mutex|lock|locks|write|read|rt_mutex)\w* bit_spin_\w+ _*bit_spin_\w+ arch_(spin|read|write)_\w+
    seqcount_\w+ read_seq\w* write_seq\w* trace_hardirqs_\w+ trace_irq_\w+ trace_softirqs_\w+ local_irq_\w+
    arch_local_\w+ trace_lock_\w+ trace_contention_\w+ _*local_bh_\w+ _*local_lock\w* osq_\w+
    __might_(sleep|fault|resched) ___might_sleep might_\w+ __cant_sleep debug_lockdep_\w+ rcu_lockdep_\w+
    debug_check_no_locks_held debug_check_no_locks_freed __rcu_read_\w+ rcu_read_(un)?lock\w*
    rcu_note_context_switch rcu_is_watching rcu_sync_lockdep_assert rcu_read_lock_\w+ __flush_work\w*
    flush_workqueue_prep\w* touch_work_lockdep_map touch_wq_lockdep_map lock_page\w* __lock_page\w* lock_map_\w+
    ftrace_\w*likely\w* _*fs_reclaim_\w+ reacquire_held_locks folio_(un)?lock\w* unlock_page folio_wake_bit
    wake_up_page\w* schedule_bug \w*rq_lock\w* _*schedule_bug \w*spin_(lock|trylock|unlock)\w*
    \w*mutex_(lock|trylock|unlock)\w* \w*lock_class\w* up down mutex_remove_waiter
"""
_ENTRIES_AND_DISPATCHERS = r"""
    process_one_work process_scheduled_works worker_thread kthread ret_from_fork\w* do_syscall_\w+ entry_SYS\w+
    entry_INT\w+ do_fast_syscall_32 ret_fast_syscall system_call_\w+ el0_svc do_el0_svc el0_svc_common
    invoke_syscall
"""
_SCHEDULING = r"""
    _*schedule(_timeout\w*|_preempt\w*|_rtlock|_hrtimeout\w*|_debug)? io_schedule\w* preempt_schedule\w*
    _*cond_resched\w* _*preempt_count_\w+ preempt_count_\w+ check_preemption_disabled debug_smp_processor_id
    __this_cpu_preempt_check context_switch __switch_to\w* thread_return msleep(_interruptible)? usleep_range\w*
"""
_MEMORY = r"""
    _*k[mvz]?[mzc]?alloc\w* _*kvm?alloc\w* kmalloc_\w+ _*do_kmalloc\w* _*k[vz]*free\w* kfree_\w+ k(mem)?dup\w*
    kmemdup\w* kstrn?dup\w* kvmemdup\w* _*kmem_cache_\w+ ___?cache_\w+ cache_(alloc|free|grow|flusharray)\w*
    _*slab_\w+ slab_\w+ _*kmalloc\w* ___slab_\w+ new_slab\w* allocate_slab alloc_slab_page setup_object
    free_(slab|debug_processing|object|consistency_checks|one_page|pages?|large_kmalloc|hot_cold_page|unref_page|unref_folio|pcppages_bulk|pages_prepare)\w*
    check_(slab|object|bytes\w*|pad_bytes)\w* alloc_(debug_processing|consistency_checks) alloc_single_from_\w+
    unfreeze_partials _*unfreeze_partials put_cpu_partial get_partial\w* discard_slab init_object
    get_freepointer\w* set_freepointer _*alloc_(pages?|frozen_pages|folio)\w*
    alloc_pages?_(mpol|vma|current|node|nodemask|noprof)\w* _*get_free_pages?\w* get_page_from_freelist
    get_zeroed_page\w* __free_pages\w* __folio_put\w* folios_put\w* post_alloc_hook prep_new_page rmqueue\w*
    _*rmqueue\w* folio_alloc\w* _*folio_alloc\w* _*vmalloc\w* vzalloc\w* _*vfree\w* _*vunmap\w* vfree\w*
    kvfree\w* krealloc\w* _*do_krealloc _*krealloc\w* ksize _*ksize debug_check_no_obj_freed
    _*debug_check_no_obj_freed debug_print_object debug_object_\w+ _*debug_object_\w+ slob_\w+ mempool_\w+
    _*phys_addr\w* _*virt_addr_valid virt_to_\w+ ___cache_free poison_\w+ pcpu_alloc\w* _*alloc_percpu\w*
    __kernel_text_address is_bpf_text_address kernel_text_address is_module_text_address kcalloc\w* devm_k\w+
    kmemleak_\w+ create_object _*kmemleak_\w+ _*page_pool_alloc\w* page_pool_alloc\w* \w*[mzc]alloc\w*
    \w*alloc_page\w* \w*kmem_cache_\w* ida_(free|alloc\w*) page_table_check_\w+ __page_table_check_\w+ ihold
"""
_STRINGS_AND_COPIES = r"""
    _*mem(cmp|cpy|set|move|chr|scan|chr_inv|zero_explicit|dup_user\w*|cpy_\w+|set_\w+)(_\w+)?
    _*str(n|l|s|rn?)?(cpy|cat|cmp|len|chr|case\w*|str|dup\w*|lcpy|scpy|spn|pbrk|sep|rchr|nlen|ncmp|ncpy|nchr|nstr|scpy_\w+)(_\w+)?
    strscpy\w* sized_str\w* bcmp \w*copy_(from|to|in)_(user|iter|kernel|sockptr|bpfptr)\w*
    _*(copy|clear)_(from|to|in|mc|user|iter)\w* _*copy_(from|to|in)_(user|iter)\w* _*raw_copy_\w+ _copy_\w+
    raw_copy_\w+ copy_user_\w+ copyin copyout\w* iterate_and_advance\w* copy_\w*iter\w* _*check_object_size
    _*check_heap_object check_stack_object usercopy_\w+ report_usercopy csum_\w+
    _*crc(16|32|32c|64|_t10dif|_ccitt)\w* _*clear_user\w* read_word_at_a_time _*arch_\w*copy\w* _*asan_mem\w+
    instrument_\w+ user_access_\w+ (get|put)_user\w* _*(get|put)_user_\w+ _*put_user\w* _*get_user_\d
    probe_kernel_\w+ copy_(from|to)_kernel_nofault\w* vsn?printf sn?printf scnprintf vscnprintf string
    string_nocheck hex_string pointer number format_decode symbol_string kvasprintf\w* kasprintf\w*
    seq_(printf|puts|putc|write|vprintf) bstr_printf vbin_printf dev_(printk\w*|vprintk_emit|err|warn|info)
    _*dev_(printk|err|warn|info)\w* _*netdev_printk va_format \w*snprintf \w*printk print_hex_dump\w*
    hex_dump_to_buffer usb_string\w*
"""
_LISTS_TREES_REFERENCES_ATOMICS_BITS = r"""
    _*list_(add|del|move|splice|cut|empty|first|is|replace|swap|rotate)\w* h?list_(?!lru)\w*(add|del)\w*
    _*hlist_\w+ hlist_\w+ _*h?list_add_rcu _*list_\w*valid\w* _*llist_\w+ llist_\w+ plist_\w+
    _*rb_(erase|insert|next|prev|first|last|link|find|add|replace|set|rotate|node|change)\w*
    _*rb_\w+_(augmented|color|cached) xas_\w+
    skb_(panic|over_panic|under_panic|put|push|pull|trim|tailroom|headroom)\w* _*skb_(put|push|pull|trim)\w*
    iput(_final)? find_lock_entries find_get_(entries|pages\w*) (pagevec|filemap)_lookup\w*
    truncate_inode_(pages|folios)_range truncate_pagecache\w* unregister_net(dev|device)\w*
    rollback_registered\w* usb_(start_wait_urb|(bulk|control|interrupt)_msg\w*|hcd_submit_urb)
    usb_(kill|poison|unlink)_(anchored_)?urbs? refcount_\w+ _*refcount_\w+ kref_\w+
    kobject_(add|put|get|cleanup|release|del|init|uevent)\w* _*kobject_\w+ kobj_\w+ k(set|type)_\w+ klist_\w+
    _*ref_tracker_\w+ ref_tracker_\w+ _*(arch_)?(raw_)?atomic(64|_long)?_\w+ atomic(64|_long)?_\w+
    arch_atomic\w* raw_atomic\w* cmpxchg\w* _*(test_and_)?(set|clear|change)_bit\w*
    _*(arch_)?test_(and_)?\w*bit\w* (arch_)?(set|clear|change|test)_bit\w* _*(find|for_each)_\w*bit\w*
    _*bitmap_(set|clear|zero|copy|or|and|andnot|xor|complement|equal|weight|parse\w*|find\w*|fill|full|empty|subset|intersects)
    _*(read|write)_once\w* _*(READ|WRITE)_ONCE\w* _*(read|write)_once_size constant_test_bit variable_test_bit
    bit_\w+_lock _*raw_(read|write)[bwlq] raw_(read|write)[bwlq] (read|write)[bwlq] _*io(read|write)\d+\w*
    io(read|write)\d+\w* (logic_)?(in|out)[bwl] logic_(in|out)\w+ readl_relaxed mmio_\w*(read|write)
    \w*list_(add|del|replace|move|splice)\w* \w*refcount\w* \w*kobject_\w* _*xas_\w+
"""
_TIMERS_WORK_RCU_SYSFS_PROC_FIRMWARE = r"""
    timer_(is_static_object|fixup_\w+) work_is_static_object (lock|debug)_timer_base lock_timer_base
    _*mod_timer\w* mod_timer\w* add_timer\w* _*internal_add_timer (try_to_)?del_timer\w*
    timer_(delete|shutdown|reduce)\w* _*timer_delete\w* _*try_to_del_timer_sync
    debug_(timer|hrtimer|work|rcu_head|percpu_counter)_\w+ cancel_(delayed_)?work\w* _*cancel_work\w*
    _*cancel_delayed_work\w* (mod_)?queue_(delayed_)?work\w* _*queue_(delayed_)?work\w* mod_delayed_work\w*
    schedule_(delayed_)?work\w* flush_(delayed_)?work(queue)?\w* start_flush_work insert_work destroy_workqueue
    drain_workqueue kthread_\w*insert_work\w* kthread_(queue|flush|destroy|cancel|mod|stop)\w*
    cleanup_srcu_struct\w* init_srcu_struct\w* internal_create_group\w* _*device_(add|del|release)\w*
    dpm_sysfs_\w+ get_device_parent bus_(add|remove)_device devm_device_release driver_(un)?register
    bus_(add|remove)_driver device_for_each_child\w* cdev_device_\w+ kill_device tty_unregister_device
    i2c_del_adapter _*unregister_client hwrng_unregister misc_deregister cleanup_glue_dir
    class_\w+_(file|register|unregister)\w* add_uevent_var sound_\w+_device init_timer_key do_init_timer
    timer_init_key sk_(reset|stop)_timer\w* kobj_kset_leave
    device_(add|create|register|unregister|destroy|del|release|remove|initialize|is_\w+)\w* driver_sysfs_\w+
    complete(_all|_with_flags)? wait_for_(common|completion)\w* _*wait_for_common\w* perf_trace_\w+
    trace_event_\w+ trace_raw_\w+ trace_(event|raw|call|print|define)\w* _*traceiter_\w+ _*bpf_trace_run\w*
    mcount\w* ftrace_(likely_update|(regs_)?caller|stub|call|graph_caller|ops_\w+_func) return_to_handler
    drop_nlink clear_nlink inc_nlink mark_buffer_dirty \w*queue_(delayed_)?work\w* try_to_grab_pending
    dummy_urb_enqueue __wake_up(_sync_key|_locked)? finish_wait sysfs_(remove|delete|unmerge|kf)\w*
    __hrtimer_run_queues hrtimer_interrupt
"""

_PLUMBING = any_of(
    _PRINTING_A_REPORT,
    _TRAPS_AND_EXCEPTIONS,
    _LOCKS,
    _ENTRIES_AND_DISPATCHERS,
    _SCHEDULING,
    _MEMORY,
    _STRINGS_AND_COPIES,
    _LISTS_TREES_REFERENCES_ATOMICS_BITS,
    _TIMERS_WORK_RCU_SYSFS_PROC_FIRMWARE,
)

# A name the compiler made: the ending says how, not what.
_SUFFIX = re.compile(
    r"(?:\.(?:isra|part|constprop|cold|llvm|lto_priv|cfi_jt|cfi|clone|specialized|localalias)(?:\.[\w]+)*|\.\d+)+$"
)


def base(function: str) -> str:
    """Return the function as written in the source: without ``.isra.0``, ``.cold`` and their like."""
    return _SUFFIX.sub("", function)


@lru_cache(maxsize=8192)
def is_plumbing(function: str) -> bool:
    """Whether a report is never named after this function."""
    return _PLUMBING.fullmatch(function) is not None
