//! Group commit: a queue for threads that append at the same time.
//!
//! If few threads append, each uses its own connection. If there are more, one of them leads: it appends for all waiting threads, in one
//! statement and one commit, and each thread gets its own answer. The idea is the group commit of PostgreSQL and InnoDB, and the leader of
//! LevelDB's writer queue.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::backend::append::{OwnedAppend, payload_bytes};
use crate::{AggregateKey, Append, Appended, ExpectedVersion, Result, TenantId, Version};

/// Up to this many threads append without a group, unless the backend sets another number.
const FEW: usize = 4;

/// Up to this many threads have two leaders at a time: while one waits for its commit, the other uses the processor. More threads have one
/// leader, so that groups are larger.
const SEVERAL: usize = 4;

/// For this many waiting appends, one more thread may lead, on another connection.
const FULL: usize = 32;

/// The most events of one group. `MOST_BYTES` limits the size of their data and metadata.
const MOST_EVENTS: usize = 256;
const MOST_BYTES: usize = 1 << 20;

/// How long a thread waits for the leaders before it leads too. A leader may be waiting for a lock of another transaction.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// The longest time that a group waits for further appends. It waits for a quarter of the time that a group takes, but not longer than
/// this.
const LONGEST_PATIENCE: Duration = Duration::from_millis(1);

/// The queue of threads that append to a server, for authors of backends.
///
/// An append joins a group if it is to one aggregate and has at most 256 events and 1 MiB. Two appends to one aggregate are in one group
/// only if the second can follow the first. At any time, an aggregate is in one group only.
#[derive(Debug, Default)]
pub struct Line {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Up to this many threads append without a group.
    few: usize,
    /// When the current leaders began to lead.
    leading: Vec<Instant>,
    /// How many threads are in the line: leaders, followers and waiting threads.
    present: usize,
    /// How many threads there were recently.
    usual: usize,
    /// How long a group took recently.
    usual_time: Duration,
    waiting: VecDeque<Arc<Ticket>>,
    /// The aggregates to which a thread is appending.
    busy: HashSet<Uuid>,
}

/// The place of a waiting thread.
#[derive(Debug)]
struct Ticket {
    append: OwnedAppend,
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Debug)]
enum Turn {
    /// Waits until this time. A thread that has waited longer leads.
    Waiting(Instant),
    /// Leads since this time.
    Leading(Instant),
    /// The leader did not append this thread's events. The thread appends them itself.
    Alone,
    Done(Appended),
}

impl Line {
    /// A line in which up to `few` threads append without a group; by default four. A smaller number is faster where an append alone costs
    /// much more than a share of a group's append.
    #[must_use]
    pub fn of_few(few: usize) -> Self {
        let state = State {
            few,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// Appends, either alone or as a member of a group. `alone` appends this call's events. `lead` appends those of a whole group; one
    /// member calls it for all. A call joins a group only if it has one append, and that has events.
    ///
    /// `lead` first gets a connection, then takes the members of the [group](Group::appends), so that no member waits for the leader's
    /// connection. It returns a result for each append, and none for an append whose aggregate had another version than expected. If it
    /// fails, it must have stored nothing, or only what can be stored again. A member without a result then calls `alone`, and so gets its
    /// own answer. No thread gets the error of another.
    ///
    /// # Errors
    ///
    /// Those of `alone`, and those of `lead` for a group of one.
    pub fn append_all(
        &self,
        appends: &[Append<'_>],
        alone: impl FnOnce() -> Result<Vec<Appended>>,
        lead: impl FnOnce(&mut Group<'_>) -> Result<Vec<Option<Appended>>>,
    ) -> Result<Vec<Appended>> {
        match appends {
            [append] if !append.events.is_empty() => {
                let alone = || alone().map(|mut results| results.remove(0));
                Ok(vec![self.append(append, alone, lead)?])
            }
            _ => alone(),
        }
    }

    fn append(
        &self,
        append: &Append<'_>,
        alone: impl FnOnce() -> Result<Appended>,
        lead: impl FnOnce(&mut Group<'_>) -> Result<Vec<Option<Appended>>>,
    ) -> Result<Appended> {
        if !Room::default().take(append) {
            return alone();
        }
        let mut place = Place {
            line: self,
            since: Instant::now(),
            busy: Vec::new(),
        };
        match self.turn(append) {
            Turn::Done(appended) => Ok(appended),
            Turn::Leading(since) => {
                place.since = since;
                place.lead(append, alone, lead)
            }
            Turn::Alone | Turn::Waiting(_) => alone(),
        }
    }

    /// Joins the line, and waits for the result of the append.
    fn turn(&self, append: &Append<'_>) -> Turn {
        let id = append.aggregate.id();
        let mut state = lock(&self.state);
        state.present += 1;
        state.usual = state.usual.max(state.present);
        if state.waiting.is_empty() && state.usual <= state.few && state.busy.insert(id) {
            return state.begin();
        }
        let ticket = Arc::new(Ticket::new(append));
        state.waiting.push_back(Arc::clone(&ticket));
        state.hand_on();
        drop(state);
        loop {
            if let Some(turn) = ticket.wait() {
                return turn;
            }
            let mut state = lock(&self.state);
            let place = state.waiting.iter().position(|other| Arc::ptr_eq(other, &ticket));
            match place {
                Some(place) if state.busy.insert(id) => {
                    state.waiting.remove(place);
                    return state.begin();
                }
                // Another thread appends to the same aggregate, or a leader has just taken this append.
                Some(_) | None => {}
            }
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            few: FEW,
            leading: Vec::new(),
            present: 0,
            usual: 0,
            usual_time: Duration::ZERO,
            waiting: VecDeque::new(),
            busy: HashSet::new(),
        }
    }
}

impl State {
    fn begin(&mut self) -> Turn {
        let now = Instant::now();
        self.leading.push(now);
        Turn::Leading(now)
    }

    /// How many threads may lead. A leader that has led for long is waiting for a lock of another transaction, and does not count.
    fn leaders(&self) -> usize {
        let more = self.waiting.len() / FULL;
        match self.usual {
            few if few <= self.few => self.few,
            several if several <= SEVERAL => 2 + more,
            _ => 1 + more,
        }
    }

    /// Lets the first thread lead that can. Lets none lead if enough others do, or if further appends are expected soon.
    fn hand_on(&mut self) {
        while self
            .leading
            .iter()
            .filter(|since| since.elapsed() < LONGEST_WAIT)
            .count()
            < self.leaders()
        {
            let is_free = |ticket: &Arc<Ticket>| !self.busy.contains(&ticket.append.aggregate.id());
            let Some(place) = self.waiting.iter().position(is_free) else {
                return;
            };
            if self.usual > self.few && self.waiting.len() < self.usual {
                let patience = (self.usual_time / 4).min(LONGEST_PATIENCE);
                self.waiting[place].wait_no_longer_than(patience);
                return;
            }
            let ticket = self.waiting.remove(place).expect("it was found there");
            self.busy.insert(ticket.append.aggregate.id());
            let turn = self.begin();
            ticket.take_turn(turn);
        }
    }

    /// Takes the threads out of the line whose appends can join this one.
    fn take_followers(&mut self, own: &Append<'_>) -> Vec<Arc<Ticket>> {
        let mut room = Room::default();
        room.take(own);
        let mut ends = HashMap::from([(own.aggregate.id(), End::of(own))]);
        let mut taken = Vec::new();
        let waiting = std::mem::take(&mut self.waiting);
        for ticket in waiting {
            let append = ticket.append.borrow();
            let id = append.aggregate.id();
            let fits = match ends.get(&id) {
                Some(end) => end.is_before(&append),
                None => !self.busy.contains(&id),
            };
            if fits && room.take(&append) {
                let end = ends.remove(&id);
                ends.insert(id, end.map_or_else(|| End::of(&append), |end| end.after(&append)));
                self.busy.insert(id);
                taken.push(ticket);
            } else {
                self.waiting.push_back(ticket);
            }
        }
        taken
    }
}

/// A thread in the line. Dropping it leaves the line and passes the lead on.
struct Place<'a> {
    line: &'a Line,
    since: Instant,
    /// The aggregates that this thread appends to as a leader.
    busy: Vec<Uuid>,
}

impl Place<'_> {
    fn lead(
        &mut self,
        append: &Append<'_>,
        alone: impl FnOnce() -> Result<Appended>,
        lead: impl FnOnce(&mut Group<'_>) -> Result<Vec<Option<Appended>>>,
    ) -> Result<Appended> {
        self.busy.push(append.aggregate.id());
        let mut group = Group {
            line: self.line,
            own: *append,
            busy: &mut self.busy,
            followers: None,
            order: vec![0],
        };
        let results = lead(&mut group);
        let Group { followers, order, .. } = group;
        let followers = followers.unwrap_or_default();
        self.leave_to_others();
        let results = match results {
            Err(error) if followers.0.is_empty() => return Err(error),
            results => results.unwrap_or_default(),
        };
        let mut own = None;
        for (place, result) in order.into_iter().zip(results) {
            match (place.checked_sub(1), result) {
                (None, result) => own = result,
                (Some(follower), Some(result)) => followers.0[follower].take_turn(Turn::Done(result)),
                (Some(_), None) => {}
            }
        }
        drop(followers);
        own.map_or_else(alone, Ok)
    }

    /// The group has ended. Its followers may join another group before this thread continues.
    fn leave_to_others(&mut self) {
        let [own, _, ..] = self.busy[..] else {
            return;
        };
        let mut state = lock(&self.line.state);
        for id in self.busy.drain(1..).filter(|id| *id != own) {
            state.busy.remove(&id);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.line.state);
        if !self.busy.is_empty() {
            state.leading.retain(|since| *since != self.since);
            for id in &self.busy {
                state.busy.remove(id);
            }
            state.usual = state.present.max(state.usual - state.usual.div_ceil(8));
            state.usual_time = (state.usual_time * 7 + self.since.elapsed()) / 8;
            state.hand_on();
        }
        state.present -= 1;
    }
}

/// The appends that one thread makes in one statement.
#[derive(Debug)]
pub struct Group<'a> {
    line: &'a Line,
    own: Append<'a>,
    /// The aggregates of the group.
    busy: &'a mut Vec<Uuid>,
    /// None until they were taken out of the line.
    followers: Option<Followers>,
    /// For each append, whose it is: 0 is the leader, then the followers.
    order: Vec<usize>,
}

impl Group<'_> {
    /// The appends, in the order of their aggregates' ids, so that groups of several processes do not deadlock. The first call takes the
    /// waiting threads out of the line.
    pub fn appends(&mut self) -> Vec<Append<'_>> {
        let followers = self.followers.get_or_insert_with(|| {
            let taken = lock(&self.line.state).take_followers(&self.own);
            self.busy
                .extend(taken.iter().map(|ticket| ticket.append.aggregate.id()));
            Followers(taken)
        });
        let followed = followers.0.iter().map(|ticket| ticket.append.borrow());
        let appends: Vec<Append<'_>> = std::iter::once(self.own).chain(followed).collect();
        self.order = (0..appends.len()).collect();
        self.order.sort_by_key(|place| appends[*place].aggregate.id());
        self.order.iter().map(|place| appends[*place]).collect()
    }

    /// Appends on a connection: `alone` if no other thread has joined, else `together`.
    ///
    /// # Errors
    ///
    /// Those of `alone` or `together`.
    pub fn append<S>(
        &mut self,
        session: &mut S,
        alone: impl FnOnce(&mut S, &[Append<'_>]) -> Result<Vec<Appended>>,
        together: impl FnOnce(&mut S, &[Append<'_>]) -> Result<Vec<Option<Appended>>>,
    ) -> Result<Vec<Option<Appended>>> {
        match &self.appends()[..] {
            one @ [_] => Ok(vec![alone(session, one)?.pop()]),
            several => together(session, several),
        }
    }
}

/// The threads whose appends the leader has taken. When it is dropped, those without a result append alone.
#[derive(Debug, Default)]
struct Followers(Vec<Arc<Ticket>>);

impl Drop for Followers {
    fn drop(&mut self) {
        for ticket in &self.0 {
            if matches!(*lock(&ticket.turn), Turn::Waiting(_)) {
                ticket.take_turn(Turn::Alone);
            }
        }
    }
}

impl Ticket {
    fn new(append: &Append<'_>) -> Self {
        Self {
            append: OwnedAppend::of(append),
            turn: Mutex::new(Turn::Waiting(Instant::now() + LONGEST_WAIT)),
            changed: Condvar::new(),
        }
    }

    /// Waits for the thread's turn; returns none after a timeout.
    fn wait(&self) -> Option<Turn> {
        let mut turn = lock(&self.turn);
        while let Turn::Waiting(until) = *turn {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                *turn = Turn::Waiting(Instant::now() + LONGEST_WAIT);
                return None;
            }
            let (guard, _) = self
                .changed
                .wait_timeout(turn, left)
                .unwrap_or_else(PoisonError::into_inner);
            turn = guard;
        }
        Some(std::mem::replace(&mut *turn, Turn::Alone))
    }

    fn wait_no_longer_than(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut turn = lock(&self.turn);
        if matches!(*turn, Turn::Waiting(later) if later > until) {
            *turn = Turn::Waiting(until);
            self.changed.notify_one();
        }
    }

    fn take_turn(&self, turn: Turn) {
        *lock(&self.turn) = turn;
        self.changed.notify_one();
    }
}

/// The room that is left in a group.
struct Room {
    events: usize,
    bytes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            events: MOST_EVENTS,
            bytes: MOST_BYTES,
        }
    }
}

impl Room {
    /// Takes the room that an append needs, if there is enough.
    fn take(&mut self, append: &Append<'_>) -> bool {
        let bytes: usize = append.events.iter().map(payload_bytes).sum();
        let left = self
            .events
            .checked_sub(append.events.len())
            .zip(self.bytes.checked_sub(bytes));
        let Some((events, bytes)) = left else {
            return false;
        };
        *self = Self { events, bytes };
        true
    }
}

/// The version of an aggregate after the appends of a group, as far as it is known.
struct End {
    aggregate: AggregateKey,
    tenant: Option<TenantId>,
    /// None if the append expected any version.
    version: Option<Version>,
}

impl End {
    fn of(append: &Append<'_>) -> Self {
        let base = match append.expected {
            ExpectedVersion::NoStream => Some(Version::ZERO),
            ExpectedVersion::Exact(version) => Some(version),
            ExpectedVersion::Any | ExpectedVersion::Exists => None,
        };
        Self {
            aggregate: append.aggregate.clone(),
            tenant: append.tenant.cloned(),
            version: base,
        }
        .after(append)
    }

    fn after(mut self, append: &Append<'_>) -> Self {
        self.version = self
            .version
            .and_then(|version| version.checked_add(append.events.len() as u64));
        self
    }

    /// Whether `append` can follow the earlier appends of the group: it succeeds if they do.
    fn is_before(&self, append: &Append<'_>) -> bool {
        let is_expected = match append.expected {
            ExpectedVersion::Any | ExpectedVersion::Exists => true,
            ExpectedVersion::Exact(version) => self.version == Some(version),
            ExpectedVersion::NoStream => false,
        };
        is_expected && self.aggregate == *append.aggregate && self.tenant.as_ref() == append.tenant
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
