use std::io;

use serde_json::Value;

use super::template::ResolveError;

/// How many bytes a resolved input may still take; shared by all its templates.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: usize,
    left: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Budget {
        Budget { limit, left: limit }
    }

    /// Takes `bytes`, or says that there are not as many.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), ResolveError> {
        self.left = self.left.checked_sub(bytes).ok_or(ResolveError::TooLarge { limit: self.limit })?;
        Ok(())
    }

    /// Takes what `value` takes as JSON, without writing it.
    pub(super) fn take_value(&mut self, value: &Value) -> Result<(), ResolveError> {
        let limit = self.limit;
        serde_json::to_writer(Counter(self), value).map_err(|_| ResolveError::TooLarge { limit })
    }
}

struct Counter<'a>(&'a mut Budget);

impl io::Write for Counter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.take(bytes.len()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
