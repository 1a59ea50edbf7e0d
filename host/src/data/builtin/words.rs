//! The vocabulary of the generated text. A word may belong to several lists: `star`, `table`, `season` are shared.

/// The content words of one topic, or those that belong to none.
pub(super) struct Words {
    pub people: &'static str,
    pub things: &'static str,
    /// Transitive, in the past tense.
    pub deeds: &'static str,
    pub qualities: &'static str,
    /// After `in the`.
    pub places: &'static str,
}

pub(super) const TOPIC_NAMES: [&str; 4] = ["astronomy", "cooking", "finance", "football"];

pub(super) const TOPICS: [Words; 4] = [
    Words {
        people: "astronomer astronaut scientist physicist engineer pilot observer researcher explorer crew",
        things: "star planet moon comet galaxy telescope orbit asteroid nebula rocket satellite eclipse crater probe \
                 lens mirror spectrum signal ring surface gas dust radiation gravity spacecraft meteor universe map \
                 launch cloud core shell image mission instrument atmosphere",
        deeds: "observed launched measured orbited detected tracked discovered photographed mapped scanned recorded \
                reached crossed explored predicted studied charted circled",
        qualities: "distant bright dark solar lunar cosmic faint massive frozen hot spinning stellar red remote \
                    invisible circular dusty ancient",
        places: "observatory sky laboratory desert station valley dome tower night module",
    },
    Words {
        people: "chef cook baker waiter butcher host guest gardener customer grocer",
        things: "soup bread onion garlic butter sauce oven pan knife recipe salad cheese pepper dough cake tomato \
                 lemon plate bowl spoon flour sugar salt meal dinner dish oil rice stew table shell ring mushroom \
                 kettle cream pie core season",
        deeds: "baked boiled chopped fried mixed peeled roasted seasoned served sliced stirred tasted cooked grilled \
                heated poured spread measured",
        qualities: "fresh sweet salty sour crisp tender spicy warm raw ripe hot golden creamy bitter smoked frozen rich \
                    delicious",
        places: "kitchen garden market restaurant pantry bakery cellar cafe dining_room farm",
    },
    Words {
        people: "banker investor trader broker analyst director economist customer manager lender",
        things: "bank loan market share stock bond profit loss price tax budget interest account fund debt credit \
                 dividend currency contract merger bid index revenue forecast insurance payment growth asset deal \
                 report rate rally return transfer goal table",
        deeds: "bought sold traded lent borrowed invested financed raised lowered audited taxed insured predicted \
                recovered funded paid transferred valued",
        qualities: "rising falling annual cheap costly rich fiscal private foreign volatile weak strong quarterly \
                    commercial public golden risky net",
        places: "office boardroom exchange treasury branch city capital vault courtroom tower",
    },
    Words {
        people: "striker goalkeeper defender coach referee captain midfielder manager fan scorer",
        things: "match goal ball penalty corner league cup season team pass shot header tackle whistle stadium \
                 defense attack trophy crowd pitch half title squad transfer contract rally return bid save replay \
                 boot shirt net post bench star",
        deeds: "kicked scored passed tackled defended saved headed dribbled won lost blocked missed chased booked \
                substituted marked raised crossed",
        qualities: "fast late narrow defensive athletic injured unbeaten wide brave loose strong weak tired home away \
                    fierce young fit",
        places: "stadium dressing_room tunnel field box stands corner dugout midfield city",
    },
];

pub(super) const SHARED: Words = Words {
    people: "teacher student friend neighbor doctor child woman man visitor writer driver worker stranger mother \
             father brother sister leader reporter artist",
    things: "house letter book road window story door river paper picture clock chair tree garden train bridge song \
             question answer plan box lamp stone wall gift coat machine number bag photograph idea rule list key \
             problem ticket bell wheel line mistake word page",
    deeds: "saw found kept took made watched moved lifted liked wanted followed carried dropped opened closed showed \
            described ignored praised remembered repaired shared hid changed needed noticed brought left held \
            examined",
    qualities: "old new small large good bad long short quiet loud heavy light clean simple strange famous common \
                important careful early final local great little beautiful ordinary broken expensive first last",
    places: "house street village school library park room building hall forest town shop yard train",
};

pub(super) const NAMES: &str = "Anna Ben Clara David Elena Frank Grace Henry Iris Jack Laura Martin Nina Oscar Paula \
                                Robert Sara Thomas Vera Walter";
pub(super) const TIMES: &str = "yesterday today Monday Friday Sunday later again soon once finally at_dawn at_noon \
                                last_week last_year this_morning in_the_evening";
pub(super) const MANNERS: &str = "slowly quickly carefully quietly badly well gently suddenly calmly proudly twice \
                                  alone together";
pub(super) const DETERMINERS: &str = "the the the the the the this that every one another some";
pub(super) const LINKS: &str =
    "near beside behind with without under above for from before after against";
pub(super) const JOINTS: &str = "and while because although so until";
pub(super) const SPEAKERS: &str = "we they people everyone nobody";
pub(super) const SAYINGS: &str = "said thought knew believed wrote";

/// Words that the sentence forms hold themselves.
pub(super) const FORM_WORDS: &str = "of in is was not but about never mind that forget they say real story instead \
                                     really tell us here it a an to by on yet whatever more";

/// Every word that a row may hold, some of them twice.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let topics = TOPICS.iter().chain([&SHARED]);
    topics
        .flat_map(|words| {
            [
                words.people,
                words.things,
                words.deeds,
                words.qualities,
                words.places,
            ]
        })
        .chain([
            NAMES,
            TIMES,
            MANNERS,
            DETERMINERS,
            LINKS,
            JOINTS,
            SPEAKERS,
            SAYINGS,
            FORM_WORDS,
        ])
        .chain(TOPIC_NAMES)
        .flat_map(|list| list.split(|letter: char| letter.is_whitespace() || letter == '_'))
        .filter(|word| !word.is_empty())
}
