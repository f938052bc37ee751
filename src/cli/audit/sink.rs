//! Where something long goes: stdout, or a new file that has its name only once it is whole.

use std::fs;
use std::io::{BufWriter, ErrorKind, Read, StdoutLock, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::cli::context::shown_path;
use crate::cli::error::CliError;

/// What is written to.
pub(super) enum Sink {
    /// The reader may go away, which is no error.
    Stdout { to: BufWriter<StdoutLock<'static>>, gone: bool },
    /// For this user only.
    File { to: BufWriter<NamedTempFile>, path: PathBuf },
}

impl Sink {
    /// To a file, where nothing may be, or to stdout.
    pub(super) fn open(path: Option<&Path>) -> Result<Sink, CliError> {
        let Some(path) = path else {
            return Ok(Sink::Stdout { to: BufWriter::new(std::io::stdout().lock()), gone: false });
        };
        if fs::symlink_metadata(path).is_ok() {
            return Err(exists(path));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let draft = NamedTempFile::new_in(folder).map_err(|error| failed(path, &error))?;
        Ok(Sink::File { to: BufWriter::new(draft), path: path.to_owned() })
    }

    /// Whether nobody reads any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Sink::Stdout { gone: true, .. })
    }

    /// Writes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match self {
            Sink::Stdout { gone: true, .. } => Ok(()),
            Sink::Stdout { to, gone } => match to.write_all(bytes) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    *gone = true;
                    Ok(())
                }
                written => written.map_err(|error| unwritten(&error)),
            },
            Sink::File { to, path } => to.write_all(bytes).map_err(|error| failed(path, &error)),
        }
    }

    /// Writes all that another has.
    pub(super) fn copy(&mut self, from: &mut impl Read) -> Result<(), CliError> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = from.read(&mut buffer).map_err(|error| unwritten(&error))?;
            match buffer.get(..count) {
                Some([]) | None => return Ok(()),
                Some(bytes) => self.write(bytes)?,
            }
        }
    }

    /// Ends it: a file is durable and has its name then.
    pub(super) fn finish(self) -> Result<(), CliError> {
        match self {
            Sink::Stdout { gone: true, .. } => Ok(()),
            Sink::Stdout { mut to, .. } => match to.flush() {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(unwritten(&error)),
                _ => Ok(()),
            },
            Sink::File { to, path } => {
                let draft = to.into_inner().map_err(|error| failed(&path, error.error()))?;
                draft.as_file().sync_all().map_err(|error| failed(&path, &error))?;
                match draft.persist_noclobber(&path) {
                    Ok(_) => Ok(()),
                    Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Err(exists(&path)),
                    Err(error) => Err(failed(&path, &error.error)),
                }
            }
        }
    }
}

fn exists(path: &Path) -> CliError {
    let message = format!("`{}` is there already, and nothing is written over it", shown_path(path));
    CliError::usage("exists", message).help("name another file, or move that one away")
}

fn failed(path: &Path, error: &std::io::Error) -> CliError {
    CliError::engine("output", format!("`{}` cannot be written: {error}", shown_path(path)))
}

fn unwritten(error: &std::io::Error) -> CliError {
    CliError::engine("output", format!("the result cannot be written: {error}"))
}
