//! Tales for language models, one a line: the same person, thing and place from the first sentence to the last.
//!
//! The words are those of the topics. A model that knows the single sentences of `topic-prose` has to learn what stays
//! the same from one sentence to the next.

use super::topics::{Mixture, Row, Writer, capitalised};
use super::words::NAMES;

/// How often the tale's own person acts, its thing is acted on, its place is told.
const PERSON: f64 = 0.7;
const THING: f64 = 0.6;
const PLACE: f64 = 0.35;
/// Shares of words of the tale's topic, and of any other.
const OWN: f64 = 0.8;
const OTHER: f64 = 0.05;

/// What a tale is about.
struct Cast {
    mixture: Mixture,
    name: String,
    person: String,
    thing: String,
    place: String,
}

impl Writer {
    /// Tales of four to six sentences, topics drawn uniformly. Each ends with a line feed.
    pub fn tales(&mut self, count: usize) -> Vec<Row> {
        (0..count).map(|_| self.tale()).collect()
    }

    fn tale(&mut self) -> Row {
        let topic = self.topic();
        let cast = self.cast(topic);
        let Cast {
            name,
            person,
            thing,
            place,
            ..
        } = &cast;
        let mut sentences = vec![format!("{name} was the {person} in the {place}")];
        for _ in 0..2 + self.stream.below(3) {
            sentences.push(capitalised(&self.event(&cast)));
        }
        sentences.push(format!("finally {name} brought the {thing} to the {place}"));
        let sentences: Vec<String> = sentences
            .iter()
            .map(|sentence| format!("{}.", capitalised(sentence)))
            .collect();
        Row {
            text: sentences.join(" ") + "\n",
            topic: topic as u32,
        }
    }

    fn cast(&mut self, topic: usize) -> Cast {
        let mixture = Mixture {
            topic,
            own: OWN,
            other: OTHER,
        };
        Cast {
            mixture,
            name: self.common(NAMES),
            person: self.content(|lists| &lists.people, mixture),
            thing: self.content(|lists| &lists.things, mixture),
            place: self.content(|lists| &lists.places, mixture),
        }
    }

    /// Somebody does something, mostly those of the cast.
    fn event(&mut self, cast: &Cast) -> String {
        let mut words = Vec::new();
        if self.stream.chance(PERSON) {
            words.push(cast.name.clone());
        } else {
            self.phrase(|lists| &lists.people, 0.3, cast.mixture, &mut words);
        }
        words.push(self.content(|lists| &lists.deeds, cast.mixture));
        if self.stream.chance(THING) {
            words.push(format!("the {}", cast.thing));
        } else {
            self.phrase(|lists| &lists.things, 0.4, cast.mixture, &mut words);
        }
        if self.stream.chance(PLACE) {
            words.push(format!("in the {}", cast.place));
        }
        words.join(" ")
    }
}
