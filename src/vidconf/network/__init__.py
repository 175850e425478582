"""How this program reaches others: proxies, certificates, ports, marks. One place for all of it, whatever is connected to."""
