//! Entities in rows of tags, as seqeval 1.2 (and conlleval before it) finds and counts them by default.

/// The tag of one word: where it stands in an entity, and the entity's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    place: Place,
    kind: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Begin,
    Inside,
    End,
    Single,
}

/// What stands around a row.
static OUTSIDE: Tag = Tag {
    place: Place::Outside,
    kind: String::new(),
};

/// Words `first..=last` of a row are one entity.
#[derive(Debug, PartialEq, Eq)]
struct Entity<'a> {
    kind: &'a str,
    first: usize,
    last: usize,
}

impl Tag {
    /// Reads `O`, `B-PER`, `I-PER`, `E-PER`, `S-PER`, or the places without a type; others are no tags of entities.
    pub fn parse(name: &str) -> Option<Self> {
        let (place, kind) = name.split_once('-').unwrap_or((name, ""));
        let place = match place {
            "O" if kind.is_empty() => Place::Outside,
            "B" => Place::Begin,
            "I" => Place::Inside,
            "E" => Place::End,
            "S" => Place::Single,
            _ => return None,
        };
        // seqeval's name for no type.
        let kind = if kind.is_empty() { "_" } else { kind };
        Some(Self {
            place,
            kind: kind.to_owned(),
        })
    }

    /// Whether the entity of this tag, if any, is over where `next` follows.
    fn ends_before(&self, next: &Self) -> bool {
        use Place::{Begin, End, Inside, Outside, Single};
        match self.place {
            Outside => false,
            End | Single => true,
            Begin | Inside => {
                matches!(next.place, Begin | Single | Outside) || self.kind != next.kind
            }
        }
    }

    /// Whether an entity starts with this tag where `last` came before.
    fn starts_after(&self, last: &Self) -> bool {
        use Place::{Begin, End, Inside, Outside, Single};
        match self.place {
            Outside => false,
            Begin | Single => true,
            Inside | End => matches!(last.place, End | Single | Outside) || self.kind != last.kind,
        }
    }
}

/// Entities of all rows: true ones, predicted ones, and those that are both with the same type and words.
#[derive(Debug, Default)]
pub struct Counts {
    both: u64,
    labelled: u64,
    predicted: u64,
}

impl Counts {
    /// Takes in a row.
    pub fn add<'a>(
        &mut self,
        labels: impl Iterator<Item = &'a Tag>,
        predicted: impl Iterator<Item = &'a Tag>,
    ) {
        let (labels, predicted) = (entities(labels), entities(predicted));
        let both = predicted.iter().filter(|entity| labels.contains(entity));
        self.both += both.count() as u64;
        self.labelled += labels.len() as u64;
        self.predicted += predicted.len() as u64;
    }

    /// Share of the predicted entities that are right; 0 where none is predicted.
    pub fn precision(&self) -> f64 {
        share(self.both, self.predicted)
    }

    /// Share of the true entities that are found; 0 where there is none.
    pub fn recall(&self) -> f64 {
        share(self.both, self.labelled)
    }

    /// Harmonic mean of precision and recall; 0 where there are no entities at all.
    pub fn f1(&self) -> f64 {
        share(2 * self.both, self.labelled + self.predicted)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// The entities of a row in order. A type that changes begins a new one, also where the tag says I or E.
fn entities<'a>(tags: impl Iterator<Item = &'a Tag>) -> Vec<Entity<'a>> {
    let (mut found, mut before, mut first) = (Vec::new(), &OUTSIDE, 0);
    for (at, tag) in tags.chain([&OUTSIDE]).enumerate() {
        if before.ends_before(tag) {
            found.push(Entity {
                kind: &before.kind,
                first,
                last: at - 1,
            });
        }
        if tag.starts_after(before) {
            first = at;
        }
        before = tag;
    }
    found
}
