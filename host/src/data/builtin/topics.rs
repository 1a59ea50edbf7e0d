//! Text about four topics, written by a small random grammar.
//!
//! A row's topic shows in the mixture of its words alone: content words come from the row's topic, from a list that all
//! topics share, or now and then from another topic, in a proportion drawn anew for each row. The first sentence is of
//! the topic, a later one may stray. One row of four sets a clause of the topic against one of another topic, and only
//! the words between them ("never mind that ...", "... but the real story is that ...") tell which is which: there a
//! bag of words is left guessing.

use super::words::{
    DETERMINERS, JOINTS, LINKS, MANNERS, NAMES, SAYINGS, SHARED, SPEAKERS, TIMES, TOPIC_NAMES,
    TOPICS, Words,
};
use crate::random::Stream;

/// Draws rows; the same stream gives the same rows on every machine.
pub(super) struct Writer {
    pub(super) stream: Stream,
    topics: Vec<Lists>,
    shared: Lists,
}

/// One row and its topic, an index of [`super::words::TOPIC_NAMES`].
pub(in crate::data) struct Row {
    pub text: String,
    pub topic: u32,
}

/// How the content words of a sentence are drawn.
#[derive(Clone, Copy)]
pub(super) struct Mixture {
    pub topic: usize,
    /// Probability that a content word is of `topic`.
    pub own: f64,
    /// Probability that it is of any of the other topics.
    pub other: f64,
}

pub(super) struct Lists {
    pub people: Vec<&'static str>,
    pub things: Vec<&'static str>,
    pub deeds: Vec<&'static str>,
    pub qualities: Vec<&'static str>,
    pub places: Vec<&'static str>,
}

type Kind = fn(&Lists) -> &[&'static str];

impl Writer {
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            topics: TOPICS.iter().map(Lists::of).collect(),
            shared: Lists::of(&SHARED),
        }
    }

    /// Rows of topics drawn uniformly, 8 to 40 words each.
    pub fn rows(&mut self, count: usize) -> Vec<Row> {
        (0..count).map(|_| self.row()).collect()
    }

    /// The same with the topic's name for a title: `Cooking: the chef ...`. A model that learns to guess hidden words
    /// of such rows learns to tell topics.
    pub fn titled_rows(&mut self, count: usize) -> Vec<Row> {
        let titled = |row: Row| Row {
            text: format!(
                "{}: {}",
                capitalised(TOPIC_NAMES[row.topic as usize]),
                row.text
            ),
            ..row
        };
        self.rows(count).into_iter().map(titled).collect()
    }

    /// A topic, each as likely as the others.
    pub(super) fn topic(&mut self) -> usize {
        self.stream.below(self.topics.len() as u64) as usize
    }

    fn row(&mut self) -> Row {
        loop {
            let topic = self.topic();
            let text = if self.stream.chance(CONTRASTS) {
                self.contrast(topic)
            } else {
                self.plain(topic)
            };
            if (8..=40).contains(&text.split(' ').count()) {
                return Row {
                    text,
                    topic: topic as u32,
                };
            }
        }
    }

    /// One to three sentences of the topic; at times one after the first is of another topic.
    fn plain(&mut self, topic: usize) -> String {
        let own = STRENGTH.0 + (STRENGTH.1 - STRENGTH.0) * self.stream.next_f64();
        let mixture = Mixture {
            topic,
            own,
            other: OTHER,
        };
        let mut sentences: Vec<String> = (0..=self.stream.below(3))
            .map(|_| self.clause(mixture))
            .collect();
        if sentences.len() > 1 && self.stream.chance(DISTRACTORS) {
            let stray = Mixture {
                topic: self.another(topic),
                ..mixture
            };
            let at = 1 + self.stream.below(sentences.len() as u64 - 1) as usize;
            sentences[at] = self.clause(stray);
        }
        sentences
            .iter()
            .map(|sentence| format!("{}.", capitalised(sentence)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// A clause of the topic and one of another, equally strong; the words between them tell which is which.
    fn contrast(&mut self, topic: usize) -> String {
        let mixture = Mixture {
            topic,
            own: STRENGTH.1,
            other: OTHER,
        };
        let stray = Mixture {
            topic: self.another(topic),
            ..mixture
        };
        let (meant, other) = (self.clause(mixture), self.clause(stray));
        let text = match self.stream.below(4) {
            0 => format!("they say that {other}, but the real story is that {meant}."),
            1 => format!("the real story is that {meant}, never mind that {other}."),
            2 => format!("forget that {other}, {meant}."),
            _ => format!("{meant}, whatever they say about it: {other}."),
        };
        capitalised(&text)
    }

    fn another(&mut self, topic: usize) -> usize {
        (topic + 1 + self.stream.below(self.topics.len() as u64 - 1) as usize) % self.topics.len()
    }

    /// Subject, deed, object, with what may stand around them.
    fn clause(&mut self, mixture: Mixture) -> String {
        let mut words = Vec::new();
        if self.stream.chance(0.15) {
            words.push(self.common(TIMES));
        } else if self.stream.chance(0.12) {
            words.extend([
                self.common(SPEAKERS),
                self.common(SAYINGS),
                "that".to_owned(),
            ]);
        }
        if self.stream.chance(0.25) {
            words.push(self.common(NAMES));
        } else {
            self.phrase(|lists| &lists.people, 0.3, mixture, &mut words);
        }
        if self.stream.chance(0.15) {
            words.push(self.common(MANNERS));
        }
        words.push(self.content(|lists| &lists.deeds, mixture));
        self.phrase(|lists| &lists.things, 0.5, mixture, &mut words);
        if self.stream.chance(0.4) {
            words.push(self.common(LINKS));
            self.phrase(|lists| &lists.things, 0.3, mixture, &mut words);
        }
        if self.stream.chance(0.4) {
            words.extend([
                "in".to_owned(),
                "the".to_owned(),
                self.content(|lists| &lists.places, mixture),
            ]);
        }
        if self.stream.chance(0.2) {
            words.push(self.common(JOINTS));
            self.phrase(|lists| &lists.people, 0.2, mixture, &mut words);
            words.push(self.content(|lists| &lists.deeds, mixture));
            self.phrase(|lists| &lists.things, 0.3, mixture, &mut words);
        }
        words.join(" ")
    }

    /// A determiner, perhaps a quality, and a noun of the kind.
    pub(super) fn phrase(
        &mut self,
        noun: Kind,
        qualified: f64,
        mixture: Mixture,
        words: &mut Vec<String>,
    ) {
        words.push(self.common(DETERMINERS));
        if self.stream.chance(qualified) {
            words.push(self.content(|lists| &lists.qualities, mixture));
        }
        words.push(self.content(noun, mixture));
    }

    /// A word of the kind.
    pub(super) fn content(&mut self, kind: Kind, mixture: Mixture) -> String {
        let drawn = self.stream.next_f64();
        let lists = if drawn < mixture.own {
            &self.topics[mixture.topic]
        } else if drawn < mixture.own + mixture.other {
            let other = self.another(mixture.topic);
            &self.topics[other]
        } else {
            &self.shared
        };
        spoken(self.stream.pick(kind(lists)))
    }

    /// A word of `list`.
    pub(super) fn common(&mut self, list: &'static str) -> String {
        let words: Vec<&str> = list.split_whitespace().collect();
        spoken(self.stream.pick(&words))
    }
}

/// Share of the rows that are contrasts.
const CONTRASTS: f64 = 0.25;
/// Share of the rows of several sentences in which one is of another topic.
const DISTRACTORS: f64 = 0.3;
/// Least and largest share of topic words among the content words of a plain row.
const STRENGTH: (f64, f64) = (0.4, 0.85);
/// Share of words of other topics.
const OTHER: f64 = 0.08;

impl Lists {
    fn of(words: &Words) -> Self {
        let split = |list: &'static str| list.split_whitespace().collect();
        Self {
            people: split(words.people),
            things: split(words.things),
            deeds: split(words.deeds),
            qualities: split(words.qualities),
            places: split(words.places),
        }
    }
}

/// Words of an expression are joined by `_` in the lists.
fn spoken(word: &str) -> String {
    word.replace('_', " ")
}

pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
