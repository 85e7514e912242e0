//! What a chapter knows of a slip: how it is made, and what is said of it.

use std::sync::Arc;

use crate::{attention, heads::Way, linear::After};

/// A public thread in which somebody made the slip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thread {
    /// `owner/name` on GitHub.
    pub repository: &'static str,
    /// The number of the issue or pull request.
    pub number: u32,
}

impl Thread {
    /// The issue or pull request `number` of `repository`.
    #[must_use]
    pub const fn of(repository: &'static str, number: u32) -> Thread {
        Thread { repository, number }
    }

    /// Where it is read.
    #[must_use]
    pub fn address(&self) -> String {
        format!("https://github.com/{}/issues/{}", self.repository, self.number)
    }
}

/// How a layer is computed, step by step. The default is right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Taken<B> {
    /// The chapter's own steps, up to the queries, keys and values of the heads.
    pub before: B,
    /// From there to what the heads find.
    pub attention: Way,
    /// What is made of that.
    pub after: After,
}

/// One thing done otherwise, in a layer whose own steps are taken as `B` says.
#[derive(Clone)]
pub struct Slip<B> {
    /// As `compare` and the course call it.
    pub name: &'static str,
    /// What is done, so that it holds of whoever did it.
    pub says: &'static str,
    /// The page that tells of it, without its ending.
    pub page: &'static str,
    /// The heading there, as its anchor.
    pub section: &'static str,
    /// The input on which nobody would notice.
    pub hidden_by: Option<&'static str>,
    /// Where it was seen in the wild.
    pub seen: Vec<Thread>,
    make: Make<B>,
}

/// What makes a slip.
type Make<B> = Arc<dyn Fn(&mut Taken<B>) + Send + Sync>;

impl<B: 'static> Slip<B> {
    /// A slip in a chapter's own steps.
    #[must_use]
    pub fn before(
        name: &'static str,
        make: impl Fn(&mut B) + Send + Sync + 'static,
        says: &'static str,
    ) -> Slip<B> {
        Slip::new(name, says, move |taken: &mut Taken<B>| make(&mut taken.before))
    }

    /// A slip in what is made of the heads.
    #[must_use]
    pub fn after(name: &'static str, after: After, says: &'static str) -> Slip<B> {
        Slip::new(name, says, move |taken: &mut Taken<B>| taken.after = after)
    }

    fn of_attention(slip: &'static attention::Slip) -> Slip<B> {
        Slip::new(slip.name, slip.says, move |taken: &mut Taken<B>| {
            (slip.make)(&mut taken.attention);
        })
    }

    fn new(
        name: &'static str,
        says: &'static str,
        make: impl Fn(&mut Taken<B>) + Send + Sync + 'static,
    ) -> Slip<B> {
        let (page, section) = ("", "where-people-go-wrong");
        let make = Arc::new(make);
        Slip { name, says, page, section, hidden_by: None, seen: Vec::new(), make }
    }

    /// The input on which nobody would notice.
    #[must_use]
    pub fn hidden_by(mut self, input: &'static str) -> Self {
        self.hidden_by = Some(input);
        self
    }

    /// Where it was seen in the wild.
    #[must_use]
    pub fn seen(mut self, threads: &[Thread]) -> Self {
        self.seen = threads.to_vec();
        self
    }

    /// Makes it.
    pub fn make(&self, taken: &mut Taken<B>) {
        (self.make)(taken);
    }
}

/// The slips of a chapter, and of those that it stands on.
#[derive(Clone)]
pub struct Slips<B>(pub Vec<Slip<B>>);

impl<B: 'static> Slips<B> {
    /// Those of attention in `all`, which `page` tells of.
    #[must_use]
    pub fn of_attention(
        page: &'static str,
        all: impl IntoIterator<Item = &'static attention::Slip>,
    ) -> Slips<B> {
        Slips(all.into_iter().map(Slip::of_attention).collect()).on(page)
    }

    /// A chapter's own, which `page` tells of.
    #[must_use]
    pub fn own(page: &'static str, all: Vec<Slip<B>>) -> Slips<B> {
        Slips(all).on(page)
    }

    fn on(mut self, page: &'static str) -> Self {
        self.0.iter_mut().for_each(|slip| slip.page = page);
        self
    }

    /// The same, where `section` tells of those called `names`.
    #[must_use]
    pub fn under(mut self, section: &'static str, names: &[&str]) -> Self {
        let told = self.0.iter_mut().filter(|slip| names.contains(&slip.name));
        told.for_each(|slip| slip.section = section);
        self
    }

    /// The same, where `input` hides the slip `name`.
    #[must_use]
    pub fn hidden_by(mut self, name: &str, input: &'static str) -> Self {
        let told = self.0.iter_mut().filter(|slip| slip.name == name);
        told.for_each(|slip| slip.hidden_by = Some(input));
        self
    }

    /// The same, where the slip `name` was seen in these threads.
    #[must_use]
    pub fn seen(mut self, name: &str, threads: &[Thread]) -> Self {
        let told = self.0.iter_mut().filter(|slip| slip.name == name);
        told.for_each(|slip| slip.seen = threads.to_vec());
        self
    }

    /// These, and then those of a chapter that this one stands on.
    #[must_use]
    pub fn and(mut self, others: Slips<B>) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The same for a chapter in whose own steps those of another are a part.
    #[must_use]
    pub fn within<C: 'static>(self, part: fn(&mut C) -> &mut B) -> Slips<C>
    where
        B: Clone,
    {
        let lifted = |slip: Slip<B>| {
            let Slip { name, says, page, section, hidden_by, seen, make } = slip;
            let make = move |taken: &mut Taken<C>| {
                let (attention, after) = (taken.attention, taken.after);
                let before = part(&mut taken.before).clone();
                let mut inner = Taken { before, attention, after };
                make(&mut inner);
                (taken.attention, taken.after) = (inner.attention, inner.after);
                *part(&mut taken.before) = inner.before;
            };
            let make = Arc::new(make);
            Slip { name, says, page, section, hidden_by, seen, make }
        };
        Slips(self.0.into_iter().map(lifted).collect())
    }
}
