"""The words of the service as frozen, slotted types. Imports nothing of ours; read this package first."""
