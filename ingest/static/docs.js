// The API's page: Swagger UI over the description that this server gives of itself.
window.SwaggerUIBundle({ url: "/openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });
