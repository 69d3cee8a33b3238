"""The words of the closed grammar in English, German, French and Spanish, with what their grammar needs to know."""

from dataclasses import dataclass

NAMES = ("Tom", "Anna", "Ben", "Lisa", "Max", "Emma", "Paul", "Nina")


@dataclass(frozen=True)
class Noun:
    """A noun in four languages. gender is German's nominative article; fr and es carry their own definite article.

    French: `le chat`, `la tasse`, or `l'oiseau m` where the article is elided and the gender has to be told.
    """

    en: str
    en_plural: str
    gender: str
    de: str
    de_plural: str
    fr: str
    fr_plural: str
    es: str
    es_plural: str

    @property
    def den(self) -> str:
        """German's accusative article."""
        return {"der": "den", "die": "die", "das": "das"}[self.gender]

    @property
    def einen(self) -> str:
        """German's accusative indefinite article."""
        return {"der": "einen", "die": "eine", "das": "ein"}[self.gender]

    @property
    def le(self) -> str:
        """French with its definite article: `le chat`, `l'oiseau`."""
        return self.fr.removesuffix(" m")

    @property
    def nom(self) -> str:
        """French without its article."""
        return self.le.removeprefix("le ").removeprefix("la ").removeprefix("l'")

    @property
    def feminine(self) -> bool:
        """Whether it is feminine in French."""
        return self.fr.startswith("la ")

    @property
    def un(self) -> str:
        return f"une {self.nom}" if self.feminine else f"un {self.nom}"

    @property
    def femenina(self) -> bool:
        """Whether it is feminine in Spanish."""
        return self.es.startswith("la ")

    @property
    def uno(self) -> str:
        """Spanish with its indefinite article."""
        return f"una {self.es[3:]}" if self.femenina else f"un {self.es[3:]}"


@dataclass(frozen=True)
class Adjective:
    """An adjective: French masculine, feminine and before a masculine vowel; Spanish masculine and feminine."""

    en: str
    de: str
    fr: tuple[str, str]
    es: tuple[str, str]
    before_vowel: str = ""

    def french(self, noun: Noun) -> str:
        return self.fr[noun.feminine]

    def spanish(self, noun: Noun) -> str:
        return self.es[noun.femenina]


THINGS = (
    Noun("ball", "balls", "der", "Ball", "Bälle", "le ballon", "ballons", "la pelota", "pelotas"),
    Noun("book", "books", "das", "Buch", "Bücher", "le livre", "livres", "el libro", "libros"),
    Noun("cup", "cups", "die", "Tasse", "Tassen", "la tasse", "tasses", "la taza", "tazas"),
    Noun("hat", "hats", "der", "Hut", "Hüte", "le chapeau", "chapeaux", "el sombrero", "sombreros"),
    Noun("key", "keys", "der", "Schlüssel", "Schlüssel", "la clé", "clés", "la llave", "llaves"),
    Noun("chair", "chairs", "der", "Stuhl", "Stühle", "la chaise", "chaises", "la silla", "sillas"),
    Noun("apple", "apples", "der", "Apfel", "Äpfel", "la pomme", "pommes", "la manzana", "manzanas"),
    Noun("flower", "flowers", "die", "Blume", "Blumen", "la fleur", "fleurs", "la flor", "flores"),
    Noun("lamp", "lamps", "die", "Lampe", "Lampen", "la lampe", "lampes", "la lámpara", "lámparas"),
    Noun("car", "cars", "das", "Auto", "Autos", "la voiture", "voitures", "el coche", "coches"),
)
ANIMALS = (
    Noun("dog", "dogs", "der", "Hund", "Hunde", "le chien", "chiens", "el perro", "perros"),
    Noun("cat", "cats", "die", "Katze", "Katzen", "le chat", "chats", "el gato", "gatos"),
    Noun("bird", "birds", "der", "Vogel", "Vögel", "l'oiseau m", "oiseaux", "el pájaro", "pájaros"),
    Noun("horse", "horses", "das", "Pferd", "Pferde", "le cheval", "chevaux", "el caballo", "caballos"),
    Noun("fish", "fish", "der", "Fisch", "Fische", "le poisson", "poissons", "el pez", "peces"),
    Noun("mouse", "mice", "die", "Maus", "Mäuse", "la souris", "souris", "el ratón", "ratones"),
)
PEOPLE = (
    Noun("man", "men", "der", "Mann", "Männer", "l'homme m", "hommes", "el hombre", "hombres"),
    Noun("woman", "women", "die", "Frau", "Frauen", "la femme", "femmes", "la mujer", "mujeres"),
    Noun("child", "children", "das", "Kind", "Kinder", "l'enfant m", "enfants", "el niño", "niños"),
    Noun("teacher", "teachers", "der", "Lehrer", "Lehrer", "le professeur", "professeurs", "el profesor", "profesores"),
)
COLOURS = (
    Adjective("red", "rot", ("rouge", "rouge"), ("rojo", "roja")),
    Adjective("blue", "blau", ("bleu", "bleue"), ("azul", "azul")),
    Adjective("green", "grün", ("vert", "verte"), ("verde", "verde")),
    Adjective("yellow", "gelb", ("jaune", "jaune"), ("amarillo", "amarilla")),
    Adjective("black", "schwarz", ("noir", "noire"), ("negro", "negra")),
    Adjective("white", "weiß", ("blanc", "blanche"), ("blanco", "blanca")),
)
QUALITIES = (
    Adjective("big", "groß", ("grand", "grande"), ("grande", "grande")),
    Adjective("small", "klein", ("petit", "petite"), ("pequeño", "pequeña")),
    Adjective("old", "alt", ("vieux", "vieille"), ("viejo", "vieja"), "vieil"),
    Adjective("new", "neu", ("nouveau", "nouvelle"), ("nuevo", "nueva"), "nouvel"),
    Adjective("good", "gut", ("bon", "bonne"), ("bueno", "buena")),
    Adjective("beautiful", "schön", ("beau", "belle"), ("bonito", "bonita"), "bel"),
)

PLACES = (
    # German after auf, unter, hinter, vor: the dative
    ("the table", "dem Tisch", "la table", "la mesa"), ("the bed", "dem Bett", "le lit", "la cama"),
    ("the house", "dem Haus", "la maison", "la casa"), ("the tree", "dem Baum", "l'arbre", "el árbol"),
    ("the door", "der Tür", "la porte", "la puerta"), ("the box", "der Kiste", "la boîte", "la caja"),
    ("the bridge", "der Brücke", "le pont", "el puente"), ("the school", "der Schule", "l'école", "la escuela"),
)  # fmt: skip
ROOMS = (
    ("the garden", "im Garten", "dans le jardin", "en el jardín"),
    ("the kitchen", "in der Küche", "dans la cuisine", "en la cocina"),
    ("the house", "im Haus", "dans la maison", "en la casa"),
    ("the city", "in der Stadt", "dans la ville", "en la ciudad"),
    ("the school", "in der Schule", "dans l'école", "en la escuela"),
    ("the park", "im Park", "dans le parc", "en el parque"),
    ("the street", "auf der Straße", "dans la rue", "en la calle"),
)
PREPOSITIONS = (
    ("on", "auf", "sur", "sobre"),
    ("under", "unter", "sous", "debajo de"),
    ("behind", "hinter", "derrière", "detrás de"),
    ("in front of", "vor", "devant", "delante de"),
)
SEEING = (
    ("sees", "sieht", "voit", "ve"),
    ("has", "hat", "a", "tiene"),
    ("wants", "will", "veut", "quiere"),
    ("buys", "kauft", "achète", "compra"),
    ("finds", "findet", "trouve", "encuentra"),
    ("paints", "malt", "peint", "pinta"),
)
RESTING = (
    ("sleeps", "schläft", "dort", "duerme"), ("sits", "sitzt", "s'assoit", "se sienta"),
    ("stands", "steht", "se tient", "está de pie"), ("plays", "spielt", "joue", "juega"),
    ("waits", "wartet", "attend", "espera"),
)  # fmt: skip
FOOD = (
    # French as eaten and as liked; Spanish as eaten and as liked
    ("bread", "Brot", "du pain", "le pain", "pan", "el pan"),
    ("cheese", "Käse", "du fromage", "le fromage", "queso", "el queso"),
    ("milk", "Milch", "du lait", "le lait", "leche", "la leche"),
    ("water", "Wasser", "de l'eau", "l'eau", "agua", "el agua"),
    ("tea", "Tee", "du thé", "le thé", "té", "el té"),
    ("coffee", "Kaffee", "du café", "le café", "café", "el café"),
)
DRINKS = ("milk", "water", "tea", "coffee")
WEATHER = (
    ("cold", "kalt", "Il fait froid", "Hace frío"), ("warm", "warm", "Il fait doux", "Hace algo de calor"),
    ("hot", "heiß", "Il fait chaud", "Hace mucho calor"), ("nice", "schön", "Il fait beau", "Hace buen tiempo"),
)  # fmt: skip
TIMES = (
    ("today", "heute", "aujourd'hui", "hoy"), ("now", "jetzt", "maintenant", "ahora"),
    ("in the morning", "am Morgen", "le matin", "por la mañana"),
    ("in the evening", "am Abend", "le soir", "por la tarde"),
)  # fmt: skip
FIXED = (
    ("Good morning.", "Guten Morgen.", "Bonjour.", "Buenos días."),
    ("Good evening.", "Guten Abend.", "Bonsoir.", "Buenas tardes."),
    ("Thank you.", "Danke.", "Merci.", "Gracias."),
    ("Hello.", "Hallo.", "Salut.", "Hola."),
    ("Goodbye.", "Auf Wiedersehen.", "Au revoir.", "Adiós."),
    ("How are you?", "Wie geht es dir?", "Comment vas-tu?", "¿Cómo estás?"),
    ("Yes, please.", "Ja, bitte.", "Oui, s'il te plaît.", "Sí, por favor."),
    ("I am happy.", "Ich bin froh.", "Je suis content.", "Estoy contento."),
    ("I am tired.", "Ich bin müde.", "Je suis fatigué.", "Estoy cansado."),
    ("We are here.", "Wir sind hier.", "Nous sommes ici.", "Estamos aquí."),
    ("Good night.", "Gute Nacht.", "Bonne nuit.", "Buenas noches."),
    ("It is raining.", "Es regnet.", "Il pleut.", "Está lloviendo."),
    ("It is snowing.", "Es schneit.", "Il neige.", "Está nevando."),
    ("Please come here.", "Bitte komm her.", "Viens ici, s'il te plaît.", "Ven aquí, por favor."),
    ("I do not know.", "Ich weiß es nicht.", "Je ne sais pas.", "No lo sé."),
    ("No, thank you.", "Nein, danke.", "Non, merci.", "No, gracias."),
)
COUNTS = {
    "en": ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    "de": ("zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf"),
    "fr": ("deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze", "douze"),
    "es": ("dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez", "once", "doce"),
}
