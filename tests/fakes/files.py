"""Files of every format, written for a test."""


def write_pdf(path, pages=("The ferry sails daily.", "Dogs are free.")):
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    with PdfPages(path, metadata={"Title": "Tern Island"}) as pdf:
        for text in pages:
            figure = Figure()
            figure.text(0.1, 0.5, text)
            pdf.savefig(figure)
