//! Runs a program to its end, or kills it at one of its system calls that change files.
//!
//! `tracer REPORT POINT PROGRAM ARGUMENT...`, where `POINT` is `never`, `before N` or `after N`. The calls in [`calls`] are counted from
//! 1 on, over all threads of the program and of what it starts. `before N`: `SIGKILL` at the beginning of the N-th; the system never carries it out. `after N`:
//! at its end; it has been carried out, and the program never learns of it. What other threads are in the middle of may still happen
//! or not, as in any crash. What it started dies with it.
//!
//! `REPORT` is a file. Its first line says how many calls were counted, and the name of the call at which the program was killed. One line
//! for each counted call follows: its name, and the files and folders that it was given open. The tracer ends with the program's exit code,
//! or with 137 if a signal ended it.
//!
//! A system call filter makes the counted calls, and no others, stop for the tracer: that leaves the program nearly as fast as it is, and
//! sees the calls however they are made. A process that is traced by this one waits for a line before it filters itself and becomes the
//! program, so that nothing is missed.

mod calls;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

type Failure = Box<dyn std::error::Error>;

/// What the child is called with in the first place: itself, becoming the program.
const BECOME: &str = "--become";

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let ended = match arguments.next() {
        Some(first) if first == BECOME => Err(become_program(arguments)),
        Some(report) => trace(report, arguments),
        None => Err("tracer REPORT POINT PROGRAM ARGUMENT...".into()),
    };
    ended.unwrap_or_else(|failure| {
        eprintln!("tracer: {failure}");
        ExitCode::from(125)
    })
}

/// Waits for a line, and is then the program, with its calls filtered.
fn become_program(mut arguments: impl Iterator<Item = OsString>) -> Failure {
    let filter = || -> Result<(), Failure> {
        io::stdin().read_line(&mut String::new())?;
        calls::stop_for_the_tracer()
    };
    let Some(program) = arguments.next() else { return "no program".into() };
    filter().err().unwrap_or_else(|| Command::new(program).args(arguments).exec().into())
}

/// On which side of which call the program dies.
#[derive(Clone, Copy, PartialEq)]
enum Point {
    Never,
    Before(u64),
    After(u64),
}

fn trace(report: OsString, mut arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let point = arguments.next().and_then(|point| point.into_string().ok()).unwrap_or_default();
    let point = match point.split_once(' ') {
        Some(("before", call)) => Point::Before(call.parse()?),
        Some(("after", call)) => Point::After(call.parse()?),
        _ if point == "never" => Point::Never,
        _ => return Err(format!("`{point}` is no point").into()),
    };
    let leader = start(arguments)?;
    let mut tracing = Tracing { leader, point, calls: 0, log: String::new(), until_end: None, killed_at: None };
    let code = tracing.follow()?;
    fs::write(report, format!("{} {}\n{}", tracing.calls, tracing.killed_at.unwrap_or("-"), tracing.log))?;
    Ok(ExitCode::from(code))
}

fn start(arguments: impl Iterator<Item = OsString>) -> Result<Pid, Failure> {
    let mut child = Command::new(env::current_exe()?).arg(BECOME).args(arguments).stdin(Stdio::piped()).spawn()?;
    let leader = Pid::from_raw(child.id().try_into()?);
    let options = [
        Options::PTRACE_O_EXITKILL,
        Options::PTRACE_O_TRACECLONE,
        Options::PTRACE_O_TRACEFORK,
        Options::PTRACE_O_TRACEVFORK,
        Options::PTRACE_O_TRACESECCOMP,
        Options::PTRACE_O_TRACESYSGOOD,
    ];
    ptrace::seize(leader, options.into_iter().collect())?;
    let mut go = child.stdin.take().ok_or("no way to tell it to go on")?;
    go.write_all(b"go\n")?;
    Ok(leader)
}

struct Tracing {
    leader: Pid,
    point: Point,
    calls: u64,
    /// One line a call.
    log: String,
    /// The thread whose call is to end before the program dies, and the call.
    until_end: Option<(Pid, &'static str)>,
    killed_at: Option<&'static str>,
}

impl Tracing {
    /// Until the process is gone; its exit code.
    fn follow(&mut self) -> Result<u8, Failure> {
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.leader => return Ok(code.try_into()?),
                Ok(WaitStatus::Signaled(pid, ..)) if pid == self.leader => return Ok(137),
                Ok(WaitStatus::PtraceEvent(thread, _, libc::PTRACE_EVENT_SECCOMP)) => self.begins(thread)?,
                Ok(WaitStatus::PtraceSyscall(thread)) => self.ends(thread)?,
                Ok(WaitStatus::PtraceEvent(thread, ..)) => there(ptrace::cont(thread, None))?,
                Ok(WaitStatus::Stopped(thread, signal)) => there(ptrace::cont(thread, signal))?,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn begins(&mut self, thread: Pid) -> Result<(), Failure> {
        if self.killed_at.is_some() {
            return there(ptrace::cont(thread, None));
        }
        self.calls += 1;
        let Ok(registers) = ptrace::getregs(thread) else { return Ok(()) };
        let name = calls::name(registers.orig_rax);
        let descriptors = [registers.rdi, registers.rsi, registers.rdx];
        self.log.push_str(name);
        for number in
            descriptors.into_iter().zip(calls::descriptors(name)).filter_map(|(number, is)| is.then_some(number))
        {
            self.log.push_str(&format!(" {}", calls::path(thread, number)));
        }
        self.log.push('\n');
        if self.point != Point::Before(self.calls) && self.point != Point::After(self.calls) {
            return there(ptrace::cont(thread, None));
        }
        if self.point == Point::Before(self.calls) {
            return self.kill(thread, name);
        }
        self.until_end = Some((thread, name));
        there(ptrace::syscall(thread, None))
    }

    fn ends(&mut self, thread: Pid) -> Result<(), Failure> {
        match self.until_end {
            Some((of, name)) if of == thread && self.killed_at.is_none() => self.kill(thread, name),
            _ => there(ptrace::cont(thread, None)),
        }
    }

    fn kill(&mut self, thread: Pid, at: &'static str) -> Result<(), Failure> {
        self.killed_at = Some(at);
        kill(self.leader, Signal::SIGKILL)?;
        there(ptrace::cont(thread, None))
    }
}

/// A thread that is gone needs nothing any more.
fn there(result: Result<(), Errno>) -> Result<(), Failure> {
    match result {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
