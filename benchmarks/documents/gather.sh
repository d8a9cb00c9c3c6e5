#!/bin/bash
# Rebuild the evaluation documents from Debian packages.
#   gather.sh TARGET_FOLDER
# Every file comes out of a Debian (bookworm) package, fetched with apt-get and
# unpacked with dpkg-deb into a scratch folder (nothing is installed, so
# dpkg path-excludes do not matter). Changes made to the files: .gz is
# decompressed; plain text without a telling suffix gets ".txt";
# Sphinx sources "x.rst.txt" get their own name "x.rst" back.
# If documents.sha256 lies next to this script, the result is checked against it.
set -euo pipefail
shopt -s nullglob extglob
LC_ALL=C; export LC_ALL
[ $# -eq 1 ] || { echo "usage: $0 TARGET_FOLDER" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "$1")
if [ -e "$out" ] && [ -n "$(ls -A "$out")" ]; then echo "$out is not empty: remove it first" >&2; exit 2; fi
mkdir -p "$out"
work=$(mktemp -d /tmp/gather.XXXXXX); trap 'rm -rf -- "$work"' EXIT
chmod 755 "$work"

D=usr/share/doc
R=usr/lib/R/site-library

fetched=" "; missing=0
fetch() {  # fetch PKG: download and unpack once (one retry round per package)
  case $fetched in *" $1 "*) return;; esac
  mkdir -p "$work/deb/$1" "$work/x/$1"
  (cd "$work/deb/$1" && { apt-get -qq download "$1" || { apt-get -qq update; apt-get -qq download "$1"; }; } 2>"$work/err") \
    || { cat "$work/err" >&2; exit 1; }
  dpkg-deb -x "$work/deb/$1"/*.deb "$work/x/$1"
  rm -rf "$work/deb/$1"
  fetched="$fetched$1 "
}

# take PKG FOLDER BASE NAME...   NAME: shell pattern below BASE; each must match
take() {
  local pkg=$1 dir=$2 base=$3 pat f n hit dst
  shift 3
  fetch "$pkg"
  mkdir -p "$out/$dir"
  for pat; do
    hit=0
    for f in "$work/x/$pkg/$base"/$pat; do
      [ -f "$f" ] || continue
      hit=1; n=${f##*/}; n=${n%.gz}
      case $n in
        *.rst.txt) n=${n%.txt};;
        *.text) n=${n%.text}.txt;;
        *.pdf|*.html|*.txt|*.md|*.rst|*.csv|*.epub|*.docx|*.xlsx|*.pptx) ;;
        *) n=$n.txt;;
      esac
      dst="$out/$dir/$n"
      [ ! -e "$dst" ] || { echo "twice: $dir/$n" >&2; exit 1; }
      case $f in *.gz) gzip -dc "$f" >"$dst";; *) cat "$f" >"$dst";; esac
    done
    [ $hit = 1 ] || { echo "nothing matches: $pkg $base/$pat" >&2; missing=1; }
  done
}

# ---- Debian project -------------------------------------------------------
take debian-faq debian-faq $D/debian/FAQ '!(index).en.html'
take debian-history debian-history $D/debian-history constitution.txt.gz social-contract.txt.gz \
  dedication/dedication-2.2.txt dedication/dedication-5.0.txt dedication/dedication-9.0.txt docs/project-history.en.epub
take debian-policy debian-policy $D/debian-policy policy.epub copyright-format-1.0.txt.gz menu-policy.txt.gz \
  perl-policy.txt.gz autopkgtest.txt.gz fhs/fhs-3.0.html debconf_specification.html
take developers-reference developers-reference usr/share/developers-reference developers-reference.epub
take live-manual-epub live-manual $D/live-manual/epub live-manual.en.epub
take debian-reference-en debian-reference usr/share/debian-reference debian-reference.en.pdf
take maint-guide maint-guide $D/maint-guide maint-guide.en.pdf
take debmake-doc debmake-doc $D/debmake-doc debmake-doc.en.pdf
take blends-doc blends $D/blends-doc debian-blends.en.pdf
take junior-doc junior $D/junior-doc/quickguide ch-{about,installation}.html
take doc-base doc-base $D/doc-base doc-base.txt.gz
take apt-doc apt $D apt-doc/guide.text.gz apt-doc/offline.text.gz \
  apt/{acquire-additional-files,external-dependency-solver-protocol,json-hooks-protocol}.md.gz apt/{progress-reporting,srv-records-support}.md

# ---- shell, terminal, files ----------------------------------------------
take bash-doc bash $D/bash bashref.pdf
take bzip2-doc bzip2 $D/bzip2 manual.pdf.gz
take xz-utils xz $D/xz-utils faq.txt.gz history.txt.gz README.gz
take tmux tmux $D/tmux README
take screen screen $D/screen FAQ.gz README README.Debian.gz
take nano nano $D/nano faq.html
take jq jq $D/jq README
take units units $D/units README.gz
take bc bc $D/bc bc.html README
take parted-doc parted $D/libparted2 FAT.gz
take hdparm hdparm $D/hdparm README.acoustic
take mdadm mdadm $D/mdadm FAQ.gz README.checkarray mdmon-design.txt.gz
take cryptsetup cryptsetup $D/cryptsetup FAQ.md.gz Keyring.txt LUKS2-locking.txt README.keyctl README.gnupg README.Debian.gz
take borgbackup-doc borgbackup $D/borgbackup/html/_sources {faq,quickstart,installation,support,development}.rst.txt \
  'deployment/!(deployment).rst.txt' usage/{create,prune,mount,notes,serve,key}.rst.txt internals/security.rst.txt
take cdrkit-doc cdrkit $D/cdrkit-doc icedax/FAQ.gz READMEs/README.{cdtext,copy,audio,verify} \
  genisoimage/README.{sort,session} FORK
take moreutils moreutils $D/moreutils README
take recoll recoll $D/recoll README.Debian

# ---- security, network, mail ---------------------------------------------
take sudo sudo $D/sudo {HISTORY,SECURITY,CONTRIBUTING,README}.md {TROUBLESHOOTING,UPGRADE}.md.gz
take openssl openssl $D/openssl README-ENGINES.md.gz HOWTO/keys.txt HOWTO/certificates.txt.gz
take fail2ban fail2ban $D/fail2ban README.md.gz README.Debian.gz run-rootless.txt
take chrony chrony $D/chrony FAQ.gz
take logwatch logwatch $D/logwatch HOWTO-Customize-LogWatch.gz
take mosh mosh $D/mosh README.md.gz
take aria2 aria2 $D/aria2 README.rst.gz
take libtasn1-doc libtasn1 $D/libtasn1-doc libtasn1.pdf
take putty-doc putty $D/putty-doc {Chapter1,Chapter2,Chapter5,Chapter8,Chapter9,AppendixC,AppendixF}.html
take keepass2-doc keepass $D/keepass2/Chm/help base/{faq,keys,multiuser,pwgenerator,repair,tans,usingpws,importexport,firststeps,cmdline,fieldrefs}.html \
  base/faq_tech.html v2/{dbsettings,sync,triggers}.html
take privoxy privoxy $D/privoxy faq/{general,installation,configuration,misc,trouble}.html user-manual/{quickstart,introduction,startup}.html
take tor tor $D/tor tor-exit-notice.html README.Debian
take clamav-doc clamav $D/clamav README.md.gz SECURITY.md.gz README.Debian.gz
take fetchmail fetchmail $D/fetchmail {fetchmail-FAQ,design-notes,fetchmail-features}.html README.SSL.gz contrib/README.gz
take mutt mutt $D/mutt html/{intro,gettingstarted,mimesupport,security,tuning,miscellany}.html PGP-Notes.txt.gz README.SMIME
take alpine-doc alpine $D/alpine tech-notes/{background,introduction,cmd-line}.html brochure.txt
take postfix-doc postfix $D/postfix {ADDRESS_CLASS,BACKSCATTER,DEBUG,IPV6,NFS,SASL,SOHO,STRESS,TUNING,VERP,SMTPUTF8}_README.gz OVERVIEW.gz
take httrack-doc httrack usr/share/httrack/html {abuse,cache,faq,filters}.html greetings.txt
take w3m w3m $D/w3m FAQ.html STORY.html README.cookie README.SSL
take apcupsd-doc apcupsd $D/apcupsd/manual {maintaining_ups,cables,smartprotocol,manual}.rst.gz

# ---- writing, notes, office, money ---------------------------------------
take zim zim usr/share/zim/manual {About,FAQ}.txt 'Usage/*.txt' \
  Help/{Searching,Templates,Config_Files,Links,Notebooks,Wiki_Syntax,Check_Boxes,Importing_external_files}.txt \
  Plugins/{Task_List,Version_Control,Quick_Note,Score_Editor,Journal,BookmarksBar}.txt
take aspell-doc aspell $D/aspell-doc/aspell.html {Phonetic-Code,Affix-Compression,Aspell-Suggestion-Strategy,Dictionary-Naming,Differences-From-Ispell}.html
take calcurse calcurse $D/calcurse {config,export,displacement,priority}.txt
take remind remind $D/remind README
take taskwarrior taskwarrior $D/taskwarrior README.md.gz
take timewarrior timewarrior $D/timewarrior README.md
take ledger ledger $D/ledger ledger3.pdf
take homebank-data homebank ${D}/homebank-data/help {00-intro,00-lexicon,dlg-acco,dlg-bud1,dlg-pref,dlg-assi,dlg-spli,dlg-xfer,misc-csvformat,use-auto_addition,use-budget,use-import,use-lend-refund,use-reconcile,use-tipsandtricks,use-vehiclecost,win-budget,win-statistics}.html
take homebank-data homebank usr/share/homebank/datas hb-categories-en.csv
take beancount beancount $D/beancount/examples ingest/Downloads/Statement.pdf ingest/office/importers/acme/acmebank1.pdf \
  ingest/office/importers/utrade/UTrade20{140713,150225,150720}.csv README
take antiword antiword $D/antiword FAQ.gz ReadMe
take sc sc $D/sc README.gz

# ---- programming ----------------------------------------------------------
take git-doc git $D/git-doc {gitfaq,gitglossary,gitworkflows,giteveryday,gitignore,gitcredentials,git-bisect}.html \
  'howto/!(new-command|maintain-git|rebuild-from-update-hook|separating-topic-branches|revert-branch-rebase|rebase-from-internal-branch|use-git-daemon|update-hook-example).txt' ReviewingGuidelines.txt git-bisect-lk2009.txt technical/{racy-git,pack-heuristics}.txt
take sqlite3-doc sqlite $D/sqlite3 {faq,whentouse,different,famous,floatingpoint,howtocorrupt,limits,testing,whyc,fasterthanfs,books,lang_datefunc}.html copyright-release.pdf
take r-doc-html r usr/share/R/doc/manual R-FAQ.html
take r-cran-readr r-readr $R/readr doc/{column-types,locales}.html NEWS.md extdata/{chickens,mtcars,mini-gapminder-asia,mini-gapminder-europe,mini-gapminder-africa}.csv
take r-cran-readxl r-readxl $R/readxl extdata/{clippy,datasets,deaths,geometry}.xlsx NEWS.md
take r-cran-officer r-officer $R/officer doc_examples/{example.docx,example.pptx} NEWS.md
take r-cran-openxlsx r-openxlsx $R/openxlsx extdata/loadExample.xlsx NEWS.md doc/Introduction.html
take r-cran-haven r-haven $R/haven doc/{datetimes,semantics}.html
take r-cran-palmerpenguins palmerpenguins $R/palmerpenguins extdata/penguins.csv
take r-cran-zoo r-zoo $R/zoo/doc {zoo,zoo-faq,zoo-design}.pdf
take r-cran-lmtest r-lmtest $R/lmtest/doc lmtest-intro.pdf
take r-cran-sandwich r-sandwich $R/sandwich doc/{sandwich,sandwich-CL}.pdf
take r-cran-survey r-survey $R/survey doc/{survey,epi,qrule}.pdf
take python3-sklearn scikit-learn usr/lib/python3/dist-packages/sklearn/datasets 'descr/*.rst' data/{iris,wine_data,boston_house_prices}.csv
take python3-sklearn scikit-learn $D/python3-sklearn README.rst.gz

# ---- sound, pictures, play, reference ------------------------------------
take espeak-ng espeak-ng $D/espeak-ng README.md.gz docs/{guide,integration,markup,numbers,index}.md \
  docs/{add_language,contributing,dictionary,intonation,languages,mbrola,phoneme_model,phonemes,voices}.md.gz docs/languages/gmw/en.md.gz docs/languages/iro/chr.md
take fluidsynth fluidsynth $D/fluidsynth README.md.gz
take lame-doc lame $D/lame-doc/html {about,abr,cbr,vbr,history,ms_stereo}.html
take sox sox $D/sox README.gz
take mpv mpv $D/mpv README.md.gz {edl-mpv,encoding,waf-buildsystem}.rst.gz tech-overview.txt.gz
take solfege-doc solfege $D/solfege/help/C {theory-intervals,inverting-intervals,rhythm,twelvetone,solfege-intro,online-resources}.html scales/{maj,modes,hun,pen,blu}.html
take tuxpaint-data tuxpaint $D/tuxpaint-data/en {FAQ,EXTENDING,ADVANCED-STAMPS-HOWTO}.txt.gz {PNG,SVG,SIGNALS}.txt
take hplip-doc hplip $D/hplip-doc {hpscan,troubleshooting,setup}.html
take sailcut-doc sailcut $D/sailcut/html/en index.html
take gpsbabel-doc gpsbabel $D/gpsbabel gpsbabel.pdf.gz
take stellarium stellarium $D/stellarium README.md CREDITS.md.gz
take hebcal hebcal $D/hebcal README.md.gz NEWS.md.gz
take gnugo gnugo $D/gnugo html/gnugo_{1,2,4,7,15}.html README.gz
take gnubg gnubg $D/gnubg README
take xboard xboard $D/xboard zippy.README.gz README
take nethack-common nethack $D/nethack-common Guidebook.txt.gz
take bsdgames bsdgames $D/bsdgames trek.pdf README.{phantasia,boggle} README.hunt.gz
take crawl-common crawl usr/share/crawl/docs quickstart.md {aptitudes,arena,ssh_guide,tiles_help,macros_guide}.txt
take freedoom freedoom $D/freedoom freedoom-manual.pdf.gz
take openttd openttd $D/openttd README.md.gz multiplayer.md.gz known-bugs.txt.gz
take miscfiles miscfiles usr/share/misc {airport,ascii,birthtoken,cities.dat,countries,currency,inter.phone,languages,na.phone,na.postalcodes,operator,top-level.domains}.gz
take anarchism anarchism $D/anarchism/markdown {append2,secB7,secE1,10years}.md.gz

[ $missing = 0 ] || exit 1
echo "files: $(find "$out" -type f | wc -l), bytes: $(find "$out" -type f -printf '%s\n' | awk '{s+=$1}END{print s}')"
if [ -f "$here/documents.sha256" ]; then
  (cd "$out" && sha256sum --quiet -c "$here/documents.sha256") && echo "identical to documents.sha256" \
    || echo "WARNING: differs from documents.sha256 (a package was updated?)" >&2
fi
