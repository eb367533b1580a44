"""Spellings of licences that follow no template: phrases, and other people's codes.

Before `licence_forms.squeeze`; each is a whole string, not something to look for.
"""

# Whole spellings that no template gives, one in a line or between bars. The public
# domain without a tool's name has no SPDX id; it is told as the Public Domain Mark,
# which says the same of a work.
PHRASES = {
    "CC0-1.0": """
        cc0 | cc zero | creative commons 0 | creative commons zero
        creative commons cc0 | creative commons cc zero | cc0 1.0 | cc zero 1.0
        cc0 1.0 universal | creative commons zero 1.0
        creative commons zero 1.0 universal | creative commons cc0 1.0
        creative commons cc0 1.0 universal | cc0 license | cc0 licence
        cc0 public domain | cc0 public domain dedication
        cc0 1.0 universal (cc0 1.0) | cc0 (public domain) | cc0 1.0 (public domain)
        public domain (cc0) | public domain (cc0 1.0) | public domain cc0
        public domain dedication (cc0) | creative commons zero (cc0)
        creative commons cczero (cc0) 1.0 license | cc0 1.0 universell
        cc0 1.0 universal public domain dedication | cc0 1.0 universel
        cc0 1.0 universal (cc0 1.0) public domain dedication | cc0 1.0 universale
        creative commons cc0 1.0 universal public domain dedication
        no rights reserved | no rights reserved (cc0) | sin derechos reservados
        ningun derecho reservado | ningun derecho reservado (cc0)
        sin derechos reservados (cc0) | cap dret reservat (cc0)
        nenhum direito reservado (cc0) | aucun droit reserve (cc0)
        keine rechte vorbehalten (cc0) | nessun diritto riservato (cc0)""",
    "CC-PDM-1.0": """
        public domain | pd | pdm | pdm 1.0 | cc pdm | cc pdm 1.0 | public domain mark
        public domain mark 1.0 | creative commons public domain mark 1.0
        public domain mark 1.0 universal | in the public domain | public domain work
        this work is in the public domain | dominio publico | obra en dominio publico
        marca de dominio publico | marca de dominio publico 1.0 | domini public
        marca de domini public 1.0 | em dominio publico | domaine public
        marque du domaine public | marque du domaine public 1.0 | gemeinfrei
        pubblico dominio | dominio pubblico | pd-old | pd-old-70 | pd-old-80
        pd-old-100 | pd-self | pd-user | pd-author | pd-release
        public domain. the bhl considers that this work is no longer under \
        copyright protection""",
    "CC-PDDC": """
        cc pddc | creative commons public domain dedication and certification""",
    # Wikimedia Commons' "GFDL" is version 1.2 or any later one.
    "GFDL-1.2-or-later": """
        gfdl | gnu fdl | gfdl 1.2 or later | gfdl 1.2+
        gnu free documentation license | gnu free documentation licence""",
    "GFDL-1.2-only": """
        gfdl 1.2 | gfdl 1.2 only | gnu free documentation license 1.2""",
    "GFDL-1.3-or-later": "gfdl 1.3 or later | gfdl 1.3+",
    "GFDL-1.3-only": """
        gfdl 1.3 | gfdl 1.3 only | gnu free documentation license 1.3""",
    # The Free Art Licence; without a version it is the present one.
    "LAL-1.3": """
        fal | fal 1.3 | lal | lal 1.3 | free art license | free art licence
        free art license 1.3 | licence art libre | licence art libre 1.3""",
    # Commons' choice among versions: the newest.
    "CC-BY-SA-4.0": "cc by-sa 4.0,3.0,2.5,2.0,1.0 | cc by-sa all",
    "CC-BY-SA-3.0": "cc by-sa 3.0,2.5,2.0,1.0 | cc by-sa 3.0 migrated",
    "CC-BY-SA-2.5": "cc by-sa 2.5,2.0,1.0",
}
# Flickr's names of its licences, all of version 2.0.
FLICKR = {
    "BY": "Attribution License",
    "BY-SA": "Attribution-ShareAlike License",
    "BY-ND": "Attribution-NoDerivs License",
    "BY-NC": "Attribution-NonCommercial License",
    "BY-NC-SA": "Attribution-NonCommercial-ShareAlike License",
    "BY-NC-ND": "Attribution-NonCommercial-NoDerivs License",
}
