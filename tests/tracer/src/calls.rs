//! The system calls that can change a file, or make a change last.

use std::collections::BTreeMap;

use nix::libc;
use nix::unistd::Pid;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::Failure;

/// Always counted.
const CALLS: [(i64, &str); 43] = [
    (libc::SYS_write, "write"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_pwritev, "pwritev"),
    (libc::SYS_pwritev2, "pwritev2"),
    (libc::SYS_sendfile, "sendfile"),
    (libc::SYS_splice, "splice"),
    (libc::SYS_copy_file_range, "copy_file_range"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_sync_file_range, "sync_file_range"),
    (libc::SYS_syncfs, "syncfs"),
    (libc::SYS_sync, "sync"),
    (libc::SYS_msync, "msync"),
    (libc::SYS_truncate, "truncate"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_rename, "rename"),
    (libc::SYS_renameat, "renameat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_unlink, "unlink"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_rmdir, "rmdir"),
    (libc::SYS_mkdir, "mkdir"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_link, "link"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_symlink, "symlink"),
    (libc::SYS_symlinkat, "symlinkat"),
    (libc::SYS_mknod, "mknod"),
    (libc::SYS_mknodat, "mknodat"),
    (libc::SYS_chmod, "chmod"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_fchmodat, "fchmodat"),
    (libc::SYS_chown, "chown"),
    (libc::SYS_fchown, "fchown"),
    (libc::SYS_fchownat, "fchownat"),
    (libc::SYS_utime, "utime"),
    (libc::SYS_utimes, "utimes"),
    (libc::SYS_futimesat, "futimesat"),
    (libc::SYS_utimensat, "utimensat"),
    (libc::SYS_creat, "creat"),
    // Its flags lie where a filter cannot look; whoever opens only to read is counted as well.
    (libc::SYS_openat2, "openat2"),
];

/// Counted if they may create or truncate: the call, its name, and which of its arguments holds the flags.
const OPENS: [(i64, &str, u8); 2] = [(libc::SYS_open, "open", 1), (libc::SYS_openat, "openat", 2)];

/// From here on each counted call of this process stops for its tracer.
pub fn stop_for_the_tracer() -> Result<(), Failure> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = CALLS.iter().map(|(call, _)| (*call, Vec::new())).collect();
    for (call, _, argument) in OPENS {
        let mut either = Vec::new();
        for flag in [libc::O_CREAT, libc::O_TRUNC] {
            let flag = u64::from(flag.unsigned_abs());
            let set = SeccompCmpOp::MaskedEq(flag);
            either.push(SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, set, flag)?])?);
        }
        rules.insert(call, either);
    }
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Trace(0), TargetArch::x86_64)?;
    Ok(seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?)
}

/// What a counted call is called.
pub fn name(call: u64) -> &'static str {
    let mut all = CALLS.iter().copied().chain(OPENS.iter().map(|(call, name, _)| (*call, *name)));
    all.find(|(number, _)| u64::try_from(*number) == Ok(call)).map_or("?", |(_, name)| name)
}

/// Which of the first three arguments of a call are descriptors.
pub fn descriptors(name: &str) -> [bool; 3] {
    match name {
        "renameat" | "renameat2" | "linkat" | "copy_file_range" | "splice" => [true, false, true],
        "symlinkat" => [false, true, false],
        "sendfile" => [true, true, false],
        "sync" | "msync" => [false; 3],
        "open" | "creat" | "truncate" | "rename" | "unlink" | "rmdir" | "mkdir" | "link" | "symlink" | "mknod"
        | "chmod" | "chown" | "utime" | "utimes" => [false; 3],
        _ => [true, false, false],
    }
}

/// What a descriptor of a thread leads to.
pub fn path(thread: Pid, descriptor: u64) -> String {
    // The system takes 32 bits of it.
    let number = descriptor as u32 as i32;
    let link = match number {
        libc::AT_FDCWD => format!("/proc/{thread}/cwd"),
        number => format!("/proc/{thread}/fd/{number}"),
    };
    std::fs::read_link(link).map_or_else(|_| "?".to_owned(), |path| path.to_string_lossy().into_owned())
}
