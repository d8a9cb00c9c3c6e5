"""What is known of encodings and languages: which go together, their letters by frequency, and their commonest words.

Written by hand from what every grammar says; the orders matter, the exact shares do not.
"""

from __future__ import annotations

_WESTERN = ("en", "fr", "es", "pt", "it", "de", "nl", "da", "sv", "fi", "is", "et")
_CENTRAL = ("pl", "cs", "hu", "sk", "hr", "ro", "de", "en")
_CYRILLIC = ("ru", "uk", "bg", "sr", "be")

CODE_PAGES: dict[str, tuple[float, tuple[str, ...]]] = {
    "cp1252": (0.0, (*_WESTERN, "signs")),
    "cp1251": (-0.5, _CYRILLIC),
    "gb18030": (-0.5, ("zh",)),
    "big5hkscs": (-0.5, ("zh-hant",)),
    "cp932": (-0.5, ("ja",)),
    "cp949": (-0.5, ("ko",)),
    "euc_jp": (-1.0, ("ja",)),
    "cp1250": (-1.25, _CENTRAL),
    "cp1253": (-1.0, ("el",)),
    "cp1254": (-1.0, ("tr",)),
    "cp1255": (-1.0, ("he",)),
    "cp1256": (-1.0, ("ar", "fa")),
    "cp1257": (-1.5, ("lt", "lv", "et")),
    "cp874": (-1.0, ("th",)),
    "koi8-r": (-1.5, ("ru", "bg")),
    "iso8859-2": (-2.0, _CENTRAL),
    "koi8-u": (-2.0, ("uk",)),
    "iso8859-5": (-2.5, _CYRILLIC),
    "iso8859-7": (-1.5, ("el",)),
    "iso8859-6": (-2.0, ("ar",)),
    "iso8859-15": (-2.0, _WESTERN),
    "cp866": (-2.5, _CYRILLIC),
    "cp850": (-4.0, _WESTERN),
    "mac_roman": (-4.0, _WESTERN),
    "cp437": (-4.5, _WESTERN),
    "cp852": (-4.5, _CENTRAL),
    "mac_cyrillic": (-5.0, _CYRILLIC),
}
"""Encoding -> the logarithm of how common it is, and the languages that are written in it."""

SEVERAL_BYTES = frozenset({"gb18030", "big5hkscs", "cp932", "cp949", "euc_jp"})
"""Encodings whose characters are of one or more bytes."""

SHOWN = {
    **{f"cp{number}": f"windows-{number}" for number in range(1250, 1259)},
    **{f"iso8859-{number}": f"ISO 8859-{number}" for number in range(2, 17)},
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "utf-32-le": "UTF-32",
    "utf-32-be": "UTF-32",
    "gb18030": "GB 18030",
    "big5hkscs": "Big5",
    "cp932": "Shift JIS",
    "euc_jp": "EUC-JP",
    "cp949": "EUC-KR",
    "cp874": "windows-874",
    "koi8-r": "KOI8-R",
    "koi8-u": "KOI8-U",
    "mac_roman": "Mac Roman",
    "mac_cyrillic": "Mac Cyrillic",
}
"""Python's name of an encoding -> the name that people know; the others are shown as they are."""

FREQUENT_LETTERS: dict[str, tuple[float, str]] = {
    "en": (0.01, "éèñüöäáíóçãâêïëàôåøæœîúûß"),
    "signs": (0.08, "€£±½²µ³¼×¾÷¢¥"),
    "fr": (0.05, "éèàêçôîûùâïœëüæÿ"),
    "es": (0.04, "óíáéñúü"),
    "pt": (0.06, "ãçáéíóêõúâàô"),
    "it": (0.03, "àèùìòéó"),
    "de": (0.03, "üäößé"),
    "nl": (0.02, "ëéïèöü"),
    "da": (0.04, "åøæéö"),
    "sv": (0.06, "äåöé"),
    "fi": (0.08, "äöå"),
    "is": (0.06, "áðíöæóþúýé"),
    "et": (0.07, "äõüöšž"),
    "lt": (0.10, "ėųšįžčūąę"),
    "lv": (0.12, "āīēšūņļžčķģ"),
    "pl": (0.08, "łęążśćóńź"),
    "cs": (0.14, "íáěéřžčýšůúťóňď"),
    "sk": (0.11, "áíéčžšýľúťňôóďäěĺŕ"),
    "hu": (0.12, "áéöőíóüűú"),
    "hr": (0.05, "čšžćđ"),
    "ro": (0.08, "ăşţâîșț"),
    "tr": (0.10, "ıüşğçöİâî"),
    "ru": (0.8, "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё"),
    "uk": (0.8, "оанивітерслкудмпяьзгбчхйжїцюєшфщґ"),
    "bg": (0.8, "аиоентрсвлкдпмзгябъучцщжшхйюфь"),
    "sr": (0.8, "аиоенрстувдкјпмлзбгчцшжњћхљђфџ"),
    "be": (0.8, "анірыоястлекудвмпцгзьбўйчхжшюэфё"),
    "el": (0.8, "αοιετσνηυρπκμλςωίάγόδθέβήχύφώξζψϊ"),
    "he": (0.8, "יוהלאמתברשנדעקפחסגטזםצכןךץף"),
    "ar": (0.8, "اليمونرتبةعدسفهكقأحجشطصخإذزضئءثىغؤظآ،؟"),
    "fa": (0.8, "ایرندموهتبسشلکگزخفپعقجحآغچصطضژظئثذ،؟"),
    "th": (0.8, "านรอกเงมยลวดทสต่้ปบะหคแจพชขใไัิีึืุู์็ผถซโธณศำญภฟฐฝฉฎฮฏๆ"),
}
"""Language -> the share of its letters in a text, and the letters beyond ASCII, the most frequent first."""

_KANA = "のにるたはをとがてでしいなれかもこらさっよりくあうだそせえけまみきつちわめおどひすろぶんば"
_KATAKANA = "ンスーイトルリアクッラシドタフロマプレテコャジュグ・サメカデバキニチオウパムウィセハズビエダヤナガモィョツ"

COMMON_CHARACTERS: dict[str, tuple[tuple[float, str], ...]] = {
    "zh": (
        (0.10, "，。、：；？！（）《》“”"),
        (0.22, "的一是不了在人有我他这个们中来上大为和国"),
        (
            0.30,
            "地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没"
            "动面起看定天分还进好小部其些主样理心本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三"
            "又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表"
            "化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何"
            "电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼"
            "书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师"
            "观清今切院让识候带导争运笔请号单位输入文件选择错误设置确定取消打开保存名称无法用户密码系统网络服务价格数量",
        ),
    ),
    "zh-hant": (
        (0.10, "，。、：；？！（）《》「」"),
        (0.22, "的一是不了在人有我他這個們中來上大為和國"),
        (
            0.30,
            "地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家種事成方多經麼去法學如都同現當沒"
            "動面起看定天分還進好小部其些主樣理心本前開但因只從想實日軍者意無力它與長把機十民第公此已工使情明性知全三"
            "又關點正業外將兩高間由問很最重並物手應戰向頭文體政美相見被利什二等產或新己制身果加西斯月話合回特代內信表"
            "化老給世位次度門任常先海通教兒原東聲提立及比員解水名真論處走義各入幾口認條平系氣題活爾更別打女變四神總何"
            "電數安少報才結反受目太量再感建務做接必場件計管期市直德資命山金指克許統區保至隊形社便空決治展馬科司五基眼"
            "書非則聽白卻界達光放強即像難且權思王象完設式色路記南品住告類求據程北邊死張該交規萬取拉格望覺術領共確傳師"
            "觀清今切院讓識候帶導爭運請號單位輸入檔案選擇錯誤設定確定取消開啟儲存名稱無法使用者密碼系統網路服務價格數量",
        ),
    ),
    "ja": (
        (0.1, "ｱｲｳｴｵｶｷｸｹｺｻｼｽｾｿﾀﾁﾂﾃﾄﾅﾆﾇﾈﾉﾊﾋﾌﾍﾎﾏﾐﾑﾒﾓﾔﾕﾖﾗﾘﾙﾚﾛﾜｦﾝﾞﾟｧｨｩｪｫｬｭｮｯｰ｡､"),
        (0.06, "、。「」・ー（）"),
        (0.42, _KANA),
        (0.14, _KATAKANA),
        (
            0.14,
            "日一国人年大十二本中長出三時行見月後前生五間上東四今金九入学高円子外八六下来気小七山話女北午百書先名川千"
            "水半男西電校語土木聞食車何南万毎白天母火右読友左休父雨会同事自社発者地業方新場員立開手力問代明動京目通言"
            "理体田主題意不作用度強公持野以思家世多正安院心界教文元重近考画海売知道集別物使品計死特私始朝運終台広住無"
            "真有口少町料工建空急止送切転研足究楽起着店病質待試族銀早映親験英医仕去味写字答夜音注帰古歌買悪図週室歩風"
            "紙黒花春赤青館屋色走秋夏習駅洋旅服夕借曜飲肉貸堂鳥飯勉冬昼茶弟牛魚兄犬妹姉漢表示選択保存設定変更削除検索"
            "入力印刷確認市部内所対合定実関法的最全数約回性政当決経制現取成氏調連指加機米予期点等平進戦相引化結解直情",
        ),
    ),
    "ko": (
        (0.10, "이다는에의을가고하를은지로한사도기서어리"),
        (
            0.45,
            "인자대시과나아일정전있해것게그들수부으상주라제보만동니조여와면원구성비적장공유년중국스관계화까된안경세오생소"
            "요습발행거였무당용문신방었분우마실바선할미전통교연치방식간영트때되물없위개입등간속또못내단명설양재합더모진각"
            "데드려래업월산야심체레감권같르며법금외터후출표회육집두현질직차결건강말받열력음달반최근복본카파포프택목록저"
            "찾색오류파일폴더인쇄글꼴름새닫편필용설확취열추선항크호민예울광불점작불종투타토느늘날남노너쪽절접져주준줄",
        ),
    ),
}
"""Language -> groups of characters, each with its share of a text; the others are rarer."""

_LISTS = {
    "en": "the and of to in is for that with on are was by from this it as be at not or have an "
    "café naïve façade résumé cliché fiancé fiancée jalapeño piñata über vis-à-vis",
    "fr": "le la les de des du et est en un une dans pour que qui pas sur par plus au aux avec ce il elle son sa ses "
    "vous nous ne se sont ou cette à été être où même très français déjà après où fichier",
    "es": "el la los las de del y en que es un una por con para no se su al lo como más pero sus este esta está "
    "son sin sobre también años según día archivo",
    "pt": "o a os as de do da dos das e em que um uma para com não se por mais no na ao é são está foi também "
    "você até à ficheiro arquivo ou seu sua pelo pela já só há",
    "it": "il lo la i gli le di del della dei e è in che un una per con non si da al come più sono nel alla questo "
    "perché può così già città file",
    "de": "der die das und ist in den von zu mit nicht ein eine einer für auf im dem des sich auch als es an werden "
    "aus bei oder sie wird sind über können für größe zurück ich wir kann nach zum zur",
    "nl": "de het een en van in is dat op te voor met niet zijn aan er om ook als bij door naar kan uit wordt of",
    "da": "og i at er en et den til på som for med det af de ikke har der kan skal om fra eller ved var når også "
    "så være dag ved bliver efter blev",
    "sv": "och i att en ett det som är på för av med den till inte har de om kan från eller när också så år",
    "fi": "ja on ei se että oli kun mutta tai ole hän joka myös sen ovat jos mitä kuin tämä tiedosto",
    "is": "og að er í á sem til um við en ekki með það af fyrir eru var þú þetta eða skrá",
    "et": "ja on ei see et ka oli kui mis või ning oma ta seda pole fail",
    "lt": "ir yra į kad iš su ne tai kaip bet už ar buvo nuo iki per po prie tik jau taip pat failas",
    "lv": "un ir uz ar no par ka kas tas nav vai arī kā lai",
    "pl": "w i z na do nie się jest że to o od po za przez dla jak ale są lub oraz tym był może być plik tylko już "
    "który która czy co ich tego",
    "cs": "a v na se je že s z do o pro to i jako za by od jsou po který jeho nebo ale není být při soubor už také "
    "tak podle než když",
    "sk": "a v na sa je že s z do o pre to i ako za by od sú po ktorý alebo ale nie byť pri súbor už tak nie je",
    "hu": "a az és hogy nem is egy ez van meg de csak már mint volt még vagy el fájl ha ki le sem után között minden",
    "hr": "i u je na se da za su od ne s koji što ali ili kao biti iz po datoteka nije sve v ni bi ki pri ali lahko",
    "ro": "de şi în a la cu că nu este o un pe din pentru care mai se sau sunt fost fişier fi ce dacă într prin",
    "tr": "ve bir bu da de için ile olarak daha çok en olan gibi ne var değil her kadar sonra mi ya dosya veya",
    "ru": "и в не на что с по для как это из к от все файл или его а о у я но",
    "uk": "і в не на що з для як це до та від або файл є у о а",
    "bg": "и на в за се от да не с по е са файл или като",
    "sr": "и у је на се да за су од не датотека или као а с",
    "be": "і ў у не на з як гэта да або а",
    "el": "ο η το και της του να σε με για από οι την των στο δεν είναι ή",
}

WORDS: dict[str, frozenset[str]] = {language: frozenset(words.split()) for language, words in _LISTS.items()}
"""Language -> its commonest words."""
