//! Words of generated lines, with frequencies like those of natural text.

#![expect(clippy::indexing_slicing, reason = "the table has an entry for every u16, each the number of a word")]

use std::collections::HashSet;

/// Bytes that a word is padded to with spaces; every word is shorter.
pub(super) const WORD_ROOM: usize = 16;

/// A word and at least one space.
#[derive(Clone, Copy)]
pub(super) struct Word {
    pub(super) padded: [u8; WORD_ROOM],
    pub(super) len: u8,
}

/// A vocabulary, and a table from 16 random bits to a word by which words come up as often as they should.
pub(super) struct Words {
    words: Vec<Word>,
    table: Vec<u16>,
}

impl Words {
    pub(super) fn new() -> Self {
        let words: Vec<_> = vocabulary().iter().map(|word| pad(word)).collect();
        Self { table: zipf_table(words.len()), words }
    }

    #[inline]
    pub(super) fn draw(&self, bits: u16) -> &Word {
        &self.words[usize::from(self.table[usize::from(bits)])]
    }
}

fn pad(word: &str) -> Word {
    let mut padded = [b' '; WORD_ROOM];
    padded.iter_mut().zip(word.bytes()).for_each(|(to, from)| *to = from);
    Word { padded, len: word.len() as u8 }
}

/// Word numbers for every u16, the word of rank r (from 0) in proportion to 1 / (r + 3): the law of Zipf with
/// Mandelbrot's shift, which keeps the first words from taking too much. Whole numbers, so that every machine draws
/// the same words.
fn zipf_table(words: usize) -> Vec<u16> {
    let weight = |rank: usize| (1u64 << 32) / (rank as u64 + 3);
    let total: u64 = (0..words).map(weight).sum();
    let (mut rank, mut below) = (0, weight(0));
    (0..1u64 << 16)
        .map(|entry| {
            while entry * total >= below << 16 {
                rank += 1;
                below += weight(rank);
            }
            rank as u16
        })
        .collect()
}

/// Distinct words, the most frequent first: common words in the order of English, then bare nouns and verbs, then
/// their forms.
fn vocabulary() -> Vec<String> {
    let nouns = || NOUNS.split_ascii_whitespace();
    let verbs = || VERBS.split_ascii_whitespace();
    let with = |ending: &'static str| move |word: &str| format!("{word}{ending}");
    let bare = COMMON.split_ascii_whitespace().chain(nouns()).chain(verbs()).map(str::to_owned);
    let forms = nouns().chain(verbs()).map(with_s).chain(verbs().map(with("ed"))).chain(verbs().map(with("ing")));
    let mut seen = HashSet::new();
    bare.chain(forms).filter(|word| seen.insert(word.clone())).collect()
}

/// The plural of a noun, or a verb's third person.
fn with_s(word: &str) -> String {
    match word.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        None if ["s", "x", "sh", "ch"].iter().any(|ending| word.ends_with(ending)) => format!("{word}es"),
        _ => format!("{word}s"),
    }
}

// The lists are frozen like the records made of them.

const COMMON: &str = "
the of and to a in is it you that he was for on are with as i his they be at one have this from or had by not but what
some we can out other were all there when up use your how said an each she which do their time if will way about many
then them write would like so these her long make thing see him two has look more day could go come did my sound no
most number who over know water than call first people may down side been now find any new work part take get place
made live where after back little only round man year came show every good me give our under name very through just
form much great think say help low line before turn cause same mean differ move right boy old too does tell sentence
set three want air well also play small end put home read hand port large spell add even land here must big high such
follow act why ask men change went light kind off need house picture try us again animal point mother world near build
self earth father head stand own page should country found answer school grow study still learn plant cover food sun
four thought let keep eye never last door between city tree cross since hard start might story saw far sea draw left
late run while press close night real life few stop open seem together next white children begin got walk example ease
paper often always music those both mark book letter until mile river car feet care second group carry took rain eat
room friend began idea fish mountain north once base hear horse cut sure watch color face wood main enough plain girl
usual young ready above ever red list though feel talk bird soon body dog family direct pose leave song measure state
product black short class wind question happen complete ship area half rock order fire south problem piece told knew
pass farm top whole king size heard best hour better true during hundred am remember step early hold west ground
interest reach fast five sing listen six table travel less morning ten simple several toward war lay against pattern
slow center love person money serve appear road map science rule govern pull cold notice voice fall power town fine
certain fly unit lead cry dark machine note wait plan figure star box field rest correct able pound done beauty drive
stood contain front teach week final gave green oh quick develop sleep warm free minute strong special mind behind
clear tail produce fact street inch lot nothing course stay wheel full force blue object decide surface deep moon
island foot yet busy test record boat common gold possible plane age dry wonder laugh thousand ago ran check game
shape yes hot miss brought heat snow bed bring sit perhaps fill east weight language among
";

const NOUNS: &str = "
account accident actor adult advice affair agent agreement airport album alarm angle ankle apple apron arch argument
arm army arrow artist aunt author autumn award baker ball band bank barn barrel basket battle beach bean bear beard
bell belt bicycle bill blanket blood board bomb bone border bottle bottom bowl brain branch bread breakfast breath
brick bridge brother budget bucket building bullet butter button cabin cable cake camera camp candle captain card
carpet castle cattle cave ceiling cell chain chair chalk channel chapter cheese chest chicken chief cinema circle
citizen clock cloth cloud clown coast coat coffee coin college column comet concert cook copper corner cotton cough
council cousin cow cream creature cricket crime crowd crown culture cup curtain cushion customer daughter dealer death
debt degree department desert desk detail device diamond dinner doctor dollar donkey dragon drawer dream dress driver
drum duck dust eagle edge effect effort egg elbow election elephant emperor engine enemy error estate event evening
evidence expert factor failure feather fence festival finger flag flame flood floor flower flute fog forest fork
fortune frame frog fruit fuel fund garage garden garlic gate gesture ghost giant gift glove goat government grain
grandmother grape grass guard guest guide guitar hammer harbor harvest hat health heart hill history hobby hole honey
hook horn hospital hotel hunter husband idiom income industry insect instrument iron jacket jar jewel joke journal
journey judge juice jungle kettle key kitchen kitten knee knot ladder lady lake lamp lawyer leader leather lecture leg
lemon lesson level library lion lip liquid lock lunch magazine market marriage match meadow meal meat medicine meeting
member memory message metal method midnight milk miner mirror mistake moment monkey monster month mood mouth movie
muscle museum mystery nail nation nature neck needle neighbor nephew nest net newspaper nose novel ocean office
officer onion opera opinion orange orchard oven owner package painter palace pan parent park partner path patient pear
pen pencil pepper piano pig pillow pilot pipe pirate planet plate player pocket poem poet poison police pond pool
potato pot powder prince prison prize profit program project proof pupil purpose puzzle queen rabbit race radio rail
rainbow reader reason recipe region report rice ring robot roof rope rose sailor salad salt sand sauce scale scene
season secret seed shadow sheet shell shirt shoe shop shoulder sister skin sky smile smoke snake soap soldier son soup
spider spirit spoon spring square stable stage stamp station statue steam stick stomach stone storm stranger stream
student sugar suit summer supper sweater sword symbol system tailor target task taste teacher team temple tent theater
theory throat throne thumb ticket tiger title toe tomato tongue tool tower toy track trade train treasure trick trip
truck tunnel turtle uncle uniform valley vegetable village violin wagon waiter wall weapon weather wedding whale wheat
window wine wing winter wire wool yard zebra
";

const VERBS: &str = "
accept adopt affect allow alter annoy appeal approach arrest assist attach attack attend avoid await back bark belong
blend block bloom boil borrow bow brush bump burn camp cheer chew claim clean climb collect comb comment complain
concern conduct confess confirm connect consider consult contact convert cook count crack crash crawl crush deliver
demand depend deposit design destroy detect discover discuss disturb doubt dream drift drown earn employ enjoy enter
escort exist expand expect explain export express extend fail faint fasten fear float flow fold follow gather glow
greet groan group grunt guard guess hand harm haunt heal hover hunt import impress inform inspect instruct insult
intend invent invest jump kick knock land last launch lift link load lock long look matter melt mend milk mix murmur
nest object obey obtain offer paint park pass perform pick point polish pour pray preach present press pretend prevent
print proceed profess protect protest punch push rain reflect refuel regard reject relax remain remind repair repeat
replay report request respect respond rest result retreat return reward risk roast roll row ruin sack sail scatter
scratch search select shelter shock shout shriek sign signal ski slant smash sniff snow soak sort sound spark spill
spoil sprint squash stain stamp start stay steer strand stretch subtract succeed suffer suggest support suspect
swallow sweat swell talk tempt test thank thaw tick toast toss touch tour train trail transform transport treat trust
turn twist unlock vanish view visit wander want warm warn wash watch weigh whisper wink wish work yawn yell yield zoom
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_lower_case_fits_its_room_and_can_be_drawn() {
        let vocabulary = vocabulary();
        assert!(vocabulary.len() >= 2000, "{} words", vocabulary.len());
        for word in &vocabulary {
            assert!(word.len() < WORD_ROOM && word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
        }
        let drawn: HashSet<_> = zipf_table(vocabulary.len()).into_iter().collect();
        assert_eq!(drawn.len(), vocabulary.len());
    }

    #[test]
    fn a_word_comes_up_in_proportion_to_its_rank() {
        let table = zipf_table(2000);
        let share = |rank: u16| table.iter().filter(|entry| **entry == rank).count();
        let (first, hundredth) = (share(0), share(99));
        assert!((first * 3).abs_diff(hundredth * 102) < 102, "{first} to {hundredth}");
    }
}
