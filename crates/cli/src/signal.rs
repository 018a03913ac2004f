//! Requests to stop: Ctrl-C, and the signal that a service manager sends.

use std::io::{self, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::exit::{Exit, Failure, Result};

/// Whether the user has asked to stop. The second request stops the program at once.
#[derive(Debug)]
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
    told: Receiver<()>,
}

impl Stop {
    /// Listens from now on.
    pub(crate) fn listen() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let flag = Arc::clone(&asked);
        let listening = ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::SeqCst) {
                process::exit(Exit::Interrupted as i32);
            }
            // At the end of the program, the receiver may be gone.
            let _ = tell.send(());
        });
        match listening {
            Ok(()) => Ok(Self { asked, told }),
            Err(error) => Err(Failure::new(
                Exit::Files,
                format!("signals cannot be received: {error}"),
            )),
        }
    }

    /// Whether the user has asked to stop.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits for this time, or until the user asks to stop.
    pub(crate) fn wait(&self, time: Duration) {
        if self.told.recv_timeout(time) == Err(RecvTimeoutError::Disconnected) {
            // The handler holds the other end as long as the process lives.
            self.asked.store(true, Ordering::SeqCst);
        }
    }
}

/// A writer that fails after a request to stop, so that the command that writes to it ends.
#[derive(Debug)]
pub(crate) struct Stoppable<'a, W> {
    pub(crate) out: W,
    pub(crate) stop: &'a Stop,
}

impl<W: Write> Write for Stoppable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stop.is_asked() {
            // Not the kind `Interrupted`, because writing would be repeated then.
            true => Err(io::Error::other("it was stopped")),
            false => self.out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Whether the standard output is a pipe that its reader has closed. A write would fail, but a command that follows a quiet log has nothing
/// to write.
#[cfg(unix)]
pub(crate) fn is_output_closed() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let stdout = io::stdout();
    let mut output = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut output, Some(&at_once)).is_ok() && output[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
}

#[cfg(not(unix))]
pub(crate) fn is_output_closed() -> bool {
    false
}
