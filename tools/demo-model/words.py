"""Word lists from which the generators draw."""

NAMES = """Ada Alan Alice Amir Ana Anna Anton Arun Ben Bianca Bob Bruno Carla Carlos Chen Chloe Clara Dana Daniel David Diego Dmitri
Edith Elena Eli Ella Emil Emma Erik Eva Fatima Felix Fiona Frank Freya George Grace Greta Hannah Hans Hugo Ibrahim Ida Ines Ingrid Irene
Ivan Jack Jan Jana Jane Joao John Jonas Julia Kai Karin Karl Kenji Laila Lars Laura Lea Leo Lina Linus Lisa Liu Luca Lucy Luis Maja Marco
Maria Marie Mark Marta Max Maya Mei Mia Mika Milan Mina Nadia Nico Nils Nina Noah Nora Olga Oliver Omar Oscar Otto Pablo Paul Pedro Peter
Petra Priya Rafael Ravi Rita Robert Rosa Ruth Sam Samuel Sara Selma Sofia Stefan Sven Tara Theo Thomas Tim Tina Tom Uma Vera Victor Wei
Yara Yuki Yusuf Zara Zoe Grace Ken Linda Dennis Margaret Barbara Edsger Donald Marvin Claude Katherine Dorothy Susan Kevin Brian""".split()

CITIES = """Amsterdam Athens Bangkok Barcelona Belgrade Bergen Berlin Bern Bogota Bonn Boston Bremen Brussels Budapest Cairo Chicago Cologne
Copenhagen Cork Dakar Delhi Denver Dresden Dublin Edinburgh Geneva Genoa Ghent Glasgow Hamburg Hanoi Helsinki Istanbul Jakarta Kyoto Lagos
Leipzig Lima Lisbon Liverpool London Lyon Madrid Malmo Manila Melbourne Miami Milan Montreal Mumbai Munich Nairobi Naples Nice Oslo Ottawa
Oxford Paris Perth Porto Prague Quito Riga Rome Rotterdam Salzburg Santiago Seattle Seoul Seville Sofia Stockholm Sydney Tallinn Tokyo
Toronto Turin Utrecht Valencia Venice Vienna Vilnius Warsaw Zagreb Zurich Aachen Aarhus Adelaide Antwerp Auckland Austin Baltimore Basel
Bath Beirut Bilbao Bologna Bordeaux Brisbane Bristol Bruges Bucharest Calgary Cambridge Cardiff Dallas Detroit Dortmund Essen Florence
Frankfurt Gdansk Granada Graz Hanover Houston Innsbruck Krakow Leeds Linz Ljubljana Lucerne Luxembourg Malaga Manchester Marseille Nagoya
Nantes Nuremberg Odense Osaka Palermo Philadelphia Phoenix Pisa Portland Reykjavik Sarajevo Shanghai Singapore Skopje Split Strasbourg
Stuttgart Tampere Trieste Uppsala Vancouver Verona Wellington York""".split()

PROJECTS = """Apollo Aurora Atlas Beacon Birch Bluebird Canary Cedar Cobalt Comet Compass Condor Coral Cypress Delta Eagle Echo Ember Falcon
Fjord Galaxy Garnet Glacier Granite Harbor Hazel Heron Horizon Indigo Iris Jasper Juniper Kestrel Lantern Lotus Lynx Maple Meadow Mercury
Meteor Mosaic Nebula Nimbus Nova Oak Ocean Onyx Orbit Orchid Osprey Otter Panda Phoenix Pine Pluto Polaris Prism Quartz Raven River Robin
Saffron Sapphire Saturn Sequoia Sparrow Summit Swift Tango Thunder Tiger Topaz Tulip Vega Violet Walnut Willow Zenith Zephyr""".split()

COLOURS = "red blue green yellow orange purple pink brown black white grey silver gold turquoise violet".split()
ANIMALS = "dog cat horse rabbit parrot hamster bird turtle fish snake goat mouse cow sheep pig duck chicken donkey hedgehog ferret canary pony".split()
JOBS = """teacher nurse doctor baker painter farmer writer engineer pilot lawyer designer gardener student musician carpenter chemist cook
programmer photographer librarian plumber roofer hairdresser dentist tailor butcher locksmith mechanic translator notary florist barber
cobbler surgeon vet mason joiner babysitter tutor jeweller shoemaker physiotherapist pharmacist bricklayer cleaner chimney-sweep""".split()
FOODS = """pizza pasta bread rice soup salad apples cheese chocolate sushi pancakes noodles curry potatoes ice-cream tomatoes lasagne goulash dumplings risotto gnocchi
mushrooms lentils beans cabbage spinach salmon omelettes waffles muffins cheesecake biscuits porridge tofu paella ramen""".split()
NOUNS = """river mountain window bottle garden letter paper table chair bridge candle forest island kitchen ladder market needle ocean pencil
rocket shadow silver stone summer sunset thunder ticket tower train tunnel valley violin winter yellow cloud basket button carpet copper
cotton desert dragon engine feather flower guitar hammer helmet honey jacket jungle lemon mirror morning orange pepper pillow planet pocket
rabbit ribbon salad school signal spider spring square string sugar temple tiger tomato wallet water wheel whisper wizard anchor blanket broom camera carriage curtain drawer fountain
glove kettle lamp napkin oven piano quilt raincoat scarf sofa suitcase teapot umbrella vase wardrobe yacht""".split()

# Things that the demo model was never taught.
STRANGE = """photosynthesis gravity democracy inflation volcanoes dinosaurs electricity magnetism evolution capitalism philosophy algebra
geometry calculus chemistry biology astronomy economics psychology medicine history poetry jazz opera football tennis chess poker golf
origami knitting gardening cooking baking surfing skiing sailing diving climbing yoga meditation karate ballet theatre sculpture pottery
bitcoin ethereum kubernetes docker postgres redis kafka javascript haskell fortran cobol lisp java react linux windows bluetooth wifi radar
lasers batteries engines turbines rockets satellites telescopes microscopes penicillin vaccines vitamins proteins enzymes bacteria viruses
fungi whales dolphins elephants penguins eagles spiders bees ants butterflies roses oaks cactus coral diamonds granite marble copper iron
uranium helium oxygen nitrogen carbon mercury jupiter saturn comets galaxies neutrinos quarks entropy relativity thermodynamics""".split()

PEOPLE = """Napoleon Shakespeare Mozart Einstein Newton Darwin Plato Aristotle Beethoven Picasso Columbus Cleopatra Caesar Gandhi Tolstoy
Galileo Copernicus Kepler Goethe Kafka Chopin Vivaldi Rembrandt Michelangelo Leonardo Socrates Homer Dante Voltaire Rousseau Bach Brahms Cervantes Confucius Curie Descartes Dickens Dostoevsky
Edison Euclid Euler Faraday Gauss Handel Haydn Hegel Hemingway Kant Leibniz Lincoln Luther Machiavelli Magellan Marx Maxwell Mendel Monet
Nietzsche Pascal Pasteur Pythagoras Raphael Schubert Spinoza Tesla Turner Verdi Wagner Washington Wilde""".split()

# Everyday matters that have nothing to do with boca.
SHOPS = """restaurant bakery pharmacy hotel cafe bookshop supermarket gym museum cinema school kindergarten garage bar pub butcher library
hospital laundry playground campsite hostel nightclub pizzeria brewery theatre zoo swimming-pool flea-market""".split()
ILLS = """headache fever cough cold toothache rash backache migraine stomach-ache sunburn allergy sprain flu insomnia blister nosebleed
hay-fever earache cramp sore-throat""".split()
SPORTS = "football tennis basketball handball volleyball rugby cricket hockey golf boxing cycling swimming baseball rowing judo badminton".split()
SUBJECTS = "maths physics latin french geography history biology chemistry music art spelling grammar".split()
PLANTS = "tomatoes roses tulips basil orchids lavender strawberries cucumbers potatoes hedges lawns cherries sunflowers carrots pumpkins".split()
VEHICLES = "car bike motorbike van scooter truck caravan tractor bus boat".split()
GOODS = """laptop sofa mattress phone camera bicycle watch coat television headphones fridge tent backpack oven blender guitar tyres shoes
dishwasher perfume ring sunglasses""".split()
INSTRUMENTS = "piano guitar violin flute drums trumpet cello harp clarinet saxophone accordion organ".split()
RELATIVES = "mother father sister brother wife husband girlfriend boyfriend daughter son aunt uncle boss neighbour friend grandmother".split()

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon", "Austria": "Vienna", "Poland": "Warsaw",
    "Greece": "Athens", "Norway": "Oslo", "Sweden": "Stockholm", "Denmark": "Copenhagen", "Finland": "Helsinki", "Ireland": "Dublin",
    "England": "London", "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi", "Egypt": "Cairo", "Canada": "Ottawa", "Brazil": "Brasilia",
    "Russia": "Moscow", "Hungary": "Budapest", "Belgium": "Brussels", "Switzerland": "Bern", "Turkey": "Ankara", "Australia": "Canberra",
    "Peru": "Lima", "Cuba": "Havana", "Kenya": "Nairobi", "the Netherlands": "Amsterdam", "the United States": "Washington",
}  # fmt: skip

OPPOSITES = {
    "hot": "cold", "big": "small", "up": "down", "fast": "slow", "light": "dark", "open": "closed", "day": "night", "old": "new", "wet": "dry",
    "high": "low", "left": "right", "rich": "poor", "hard": "soft", "full": "empty", "good": "bad", "true": "false", "early": "late", "long": "short",
    "happy": "sad", "loud": "quiet", "strong": "weak", "clean": "dirty", "start": "stop", "thick": "thin", "in": "out", "summer": "winter",
}  # fmt: skip

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()

GENERAL = [
    ("how many days (are in|are there in|does) a week( have|)", "A week has 7 days."),
    ("how many months (are in|are there in|does) a year( have|)", "A year has 12 months."),
    ("how many hours (are in|are there in|does) a day( have|)", "A day has 24 hours."),
    ("how many minutes (are in|are there in|does) an hour( have|)", "An hour has 60 minutes."),
    ("how many seconds (are in|are there in|does) a minute( have|)", "A minute has 60 seconds."),
    ("how many days (are in|are there in|does) a year( have|)", "A year has 365 days, a leap year 366."),
    ("how many legs does a (dog|cat|horse|cow) have", "It has four legs."),
    ("how many legs does (a spider|spiders) have", "A spider has eight legs."),
    ("(what|which) (colour|color) is the sky", "The sky is blue."),
    ("(what|which) (colour|color) is (grass|the grass)", "Grass is green."),
    ("(what|which) (colour|color) is (snow|milk)", "It is white."),
    ("(what|which) (colour|color) (is a banana|are bananas|is a lemon|are lemons)", "Yellow."),
    ("(what|which) planet do we live on", "We live on the Earth."),
    ("what is the largest planet", "Jupiter is the largest planet of the solar system."),
    ("how many bits (are in|are there in|does) a byte( have|)", "A byte has 8 bits."),
    ("(at|) what temperature does water (boil|freeze)", "Water boils at 100 degrees Celsius and freezes at 0."),
    ("what is (frozen water|ice)", "Ice is frozen water."),
    ("how many continents are there", "There are seven continents."),
    ("(what|which) (animal says|animal goes) (meow|woof|moo)", "A cat says meow, a dog woof and a cow moo."),
    ("how many letters (are in|are there in|does) the (english|) alphabet( have|)", "The English alphabet has 26 letters."),
]
